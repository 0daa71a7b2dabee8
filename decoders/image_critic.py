"""The critic of images: a small network that reads attributes of images, clean or degraded.

Pixels hardly tell a blurred bird from a blurred frog; features that were trained to tell things apart do. Training
compares images by its features (train.foundations), and a reply its candidates by what it reads in them
(nextgpt_lite.candidates): a verifier trained apart that chooses among samples, as in 2110.14168, Sec. 4.

Shapes: B images, C channels, H x W pixels, A attributes.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from data.atomic import atomic_file, write_json
from data.strict import read_json
from decoders.image import image_tensor

FOLDER = "image_critic"
UNKNOWN = -100  # the class of an attribute that an image is not known to have; cross-entropy ignores it
#: Attribute -> value -> what people call it, in any language.
Names = Mapping[str, Mapping[Any, Sequence[str]]]


class ImageCritic(nn.Module):
    """Convolutions at 1, 1/2, 1/4 and 1/8 of the image's side, and a score for each value of each attribute.

    ``names`` are what words call the values; one that they leave out goes by its own name.
    """

    def __init__(
        self,
        attributes: Mapping[str, tuple],
        size: int,
        widths: tuple[int, ...] = (24, 48, 96, 128),
        names: Names | None = None,
    ) -> None:
        super().__init__()
        known = names or {}
        self.names = {
            name: [tuple(known.get(name, {}).get(value, (str(value),))) for value in values]
            for name, values in attributes.items()
        }
        self.attributes = {name: tuple(values) for name, values in attributes.items()}
        self.size, self.widths = size, tuple(widths)
        inputs = (3, *widths[:-1])
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, 3, stride=1 if level == 0 else 2, padding=1),
                nn.GroupNorm(1, width),
                nn.SiLU(),
                *([Mixed(width)] if level > 1 else []),
            )
            for level, (before, width) in enumerate(zip(inputs, widths, strict=True))
        )
        # Mean and maximum say what is there; a thin copy of the map says where.
        self.thin = nn.Conv2d(widths[-1], 8, 1)
        read = 2 * widths[-1] + 8 * (-(-size // 2 ** (len(widths) - 1))) ** 2
        self.heads = nn.ModuleDict({name: nn.Linear(read, len(values)) for name, values in self.attributes.items()})

    def features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Maps (B, C, h, w) of ``pixels`` (B, 3, H, W) in [-1, 1], one a level."""
        maps = [pixels.contiguous(memory_format=torch.channels_last)]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return maps[1:]

    def scores(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> (B, values)."""
        last = self.features(pixels)[-1]
        read = torch.cat((last.mean((2, 3)), last.amax((2, 3)), self.thin(last).flatten(1)), dim=1)
        return {name: head(read) for name, head in self.heads.items()}

    def classes(self, shown: Mapping[str, Any]) -> list[int]:
        """Numbers of the values that ``shown`` names, UNKNOWN for the others."""
        return [values.index(shown[name]) if name in shown else UNKNOWN for name, values in self.attributes.items()]

    def classification_loss(self, pixels: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy of what is known, and the shares read rightly (A,): ``classes`` (B, A)."""
        losses, right = [], []
        for scores, wanted in zip(self.scores(pixels).values(), classes.T, strict=True):
            known = wanted != UNKNOWN
            losses.append(F.cross_entropy(scores, wanted, reduction="sum", label_smoothing=0.02) / known.sum().clamp(1))
            right.append(((scores.argmax(1) == wanted) & known).sum() / known.sum())
        return torch.stack(losses).mean(), torch.stack(right).detach()

    def named(self, words: str) -> dict[str, int]:
        """Attribute -> number of the value that ``words`` name. An attribute of which they name two is left out."""
        found: dict[str, set[int]] = {}
        for match in self._called.finditer(words.lower()):
            name, number = self._meanings[match.group()]
            found.setdefault(name, set()).add(number)
        return {name: next(iter(numbers)) for name, numbers in found.items() if len(numbers) == 1}

    @torch.no_grad()
    def fit(self, media: Sequence[np.ndarray], words: str) -> torch.Tensor:
        """Log-probability (N,), in nats, that media show all that ``words`` name: zeros where these name nothing.

        ``media`` are N images uint8 (H, W, 3), or N videos uint8 (F, H, W, 3), whose frames count equally.
        """
        named = self.named(words)
        if not named:
            return torch.zeros(len(media))
        videos = [medium if medium.ndim == 4 else medium[None] for medium in media]
        device = next(self.parameters()).device
        pixels = image_tensor(np.concatenate(videos)).to(device)
        read = self.scores(F.interpolate(pixels, (self.size, self.size), mode="area"))
        scores = [F.log_softmax(read[name].float(), dim=1)[:, number] for name, number in named.items()]
        return torch.stack(scores).sum(dim=0).reshape(len(videos), -1).mean(dim=1).cpu()

    @cached_property
    def _meanings(self) -> dict[str, tuple[str, int]]:
        return {
            called.lower(): (name, number)
            for name, values in self.names.items()
            for number, forms in enumerate(values)
            for called in forms
        }

    @cached_property
    def _called(self) -> re.Pattern:
        """Longest first. Words of scripts with spaces are met whole only; Chinese has none between words."""
        longest = sorted(self._meanings, key=len, reverse=True)
        whole = (rf"\b{re.escape(called)}\b" if called.isascii() else re.escape(called) for called in longest)
        return re.compile("|".join(whole))

    def distance(self, pixels: torch.Tensor, real: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """How differently two batches (B, 3, H, W) look: squared error of unit features, weighted by (B, 1, H, W)."""
        with torch.no_grad():
            wanted = self.features(real)
        total = pixels.new_zeros(())
        for found, target in zip(self.features(pixels), wanted, strict=True):
            error = (F.normalize(found, dim=1) - F.normalize(target, dim=1)).square().sum(dim=1, keepdim=True)
            if weight is not None:
                error = error * F.adaptive_avg_pool2d(weight, (error.shape[-2], error.shape[-1]))
            total = total + error.mean()
        return total / len(wanted)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``config.json`` and, in half precision, ``model.safetensors``."""
        halves = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        with atomic_file(folder / "model.safetensors") as temporary:
            save_file(halves, temporary)
        config = {"attributes": self.attributes, "size": self.size, "widths": self.widths, "names": self.names}
        write_json(folder / "config.json", config, ensure_ascii=False)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """The critic in ``folder``, frozen, in full precision."""
        config = read_json(folder / "config.json")
        critic = cls(config["attributes"], config["size"], tuple(config["widths"]))
        if "names" in config:
            critic.names = {name: [tuple(forms) for forms in values] for name, values in config["names"].items()}
        halves = load_file(folder / "model.safetensors")
        critic.load_state_dict({name: value.float() for name, value in halves.items()})
        return critic.to(memory_format=torch.channels_last).eval().requires_grad_(False)


class Mixed(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(1, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps + self.body(maps)


def load_critic(model_dir: Path) -> ImageCritic:
    """The trained critic of the model folder, frozen. ValueError where there is none."""
    folder = Path(model_dir) / FOLDER
    if not (folder / "config.json").is_file():
        raise ValueError(f"no critic of images in {folder}: train the recipe image_critic first")
    return ImageCritic.from_pretrained(folder)
