"""Trains the critic of pictures (decoders.image_critic): to read attributes, of clean pictures and of rough ones.

    nextgpt-lite train train/recipes/image_critic.yaml

By its features the image VAE compares its reconstructions (a perceptual loss: 1801.03924) and the image decoder its
guesses (2401.00110); by its readings a reply chooses among candidates. No evaluation uses it, and it shares neither
code nor weights with the oracles.

Shapes: B pictures, H x W pixels, A attributes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from decoders.image import encode_images, image_tensor
from decoders.image_critic import FOLDER, ImageCritic
from train.array_files import cached
from train.foundations.diffusion.image_diffusion import load_vae, pool_size
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, image_pictures, weights_hash, write_component
from train.recipe import RecipeError
from train.task import Task
from train.worlds import MediaStream, open_world


class ImageCriticTask(Task):
    """Cross-entropy of the attributes of pictures, as drawn and as the VAE gives them back from noisy latents."""

    model: CriticTraining

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests whose records name attributes, see train.worlds; none = Toybox
        "pool": 16384,  # pictures, drawn once; at most
        "held_out": 512,
        "size": 64,
        "widths": (24, 48, 96, 128),  # channels of the critic, level by level
        "latent_noise": 0.35,  # deviation of the noise on the latents of every second picture: at most
        "pixel_noise": 0.1,
        "seed": TRAIN_SEED,
        "cache_dir": ".cache/pools",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        chosen = self.settings
        world = open_world(chosen["data"])
        stream = world.stream("image", chosen["seed"])
        attributes = values_of(stream)
        if not attributes:
            raise RecipeError("a critic needs pictures that are known to have attributes: the data name none")
        self.model = CriticTraining(ImageCritic(attributes, chosen["size"], tuple(chosen["widths"]), world.names))
        self.vae = load_vae(self.model_dir)
        self.dataset = self._pictures(stream, pool_size(stream, chosen["pool"]))
        held_out = world.stream("image", HELD_OUT_SEED, held_out=True)
        self.held_out = self._pictures(held_out, pool_size(held_out, chosen["held_out"]))

    def _pictures(self, stream: MediaStream, count: int) -> CriticPictures:
        chosen, size = self.settings, self.settings["size"]
        drawn = image_pictures(stream, count, size, chosen["cache_dir"])
        made_of = f"{stream.seed}-{count}-{size}-{stream.key}-{chosen['latent_noise']}-{weights_hash(self.vae)}"
        rough = cached(
            chosen["cache_dir"],
            f"rough-pictures-{made_of}",
            count,
            lambda: roughened(self.vae, drawn, chosen["latent_noise"]),
        )
        classes = torch.tensor([self.model.critic.classes(stream.attributes(i)) for i in range(count)])
        return CriticPictures(drawn, rough, classes)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"critic": list(self.model.parameters())}

    def collate(self, items: list[tuple[np.ndarray, torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        """{"pixels": (B, 3, H, W) in [-1, 1] with some noise, "classes": (B, A)}."""
        pixels = image_tensor([picture for picture, _, _ in items])
        generator = torch.Generator().manual_seed(sum(number for _, _, number in items))
        strength = self.settings["pixel_noise"] * torch.rand((len(items), 1, 1, 1), generator=generator)
        pixels = pixels + strength * torch.randn(pixels.shape, generator=generator)
        return {"pixels": pixels, "classes": torch.stack([classes for _, classes, _ in items])}

    def export(self, model_dir: Path) -> None:
        """``image_critic`` in the model folder."""
        write_component(Path(model_dir) / FOLDER, self.model.critic.save_pretrained)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Share of each attribute that is read rightly, of unseen pictures as drawn and roughened."""
        figures, critic = {}, self.model.critic
        for name, pictures in (("drawn", self.held_out.drawn), ("rough", self.held_out.rough)):
            _, right = critic.misread(image_tensor(pictures), self.held_out.classes)
            figures |= {f"{name}_{each}": float(share) for each, share in zip(critic.attributes, right, strict=True)}
        return figures


class CriticTraining(nn.Module):
    """The critic under its loss."""

    critic: ImageCritic

    def __init__(self, critic: ImageCritic) -> None:
        super().__init__()
        self.critic = critic.to(memory_format=torch.channels_last)

    def forward(self, pixels: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
        loss, right = self.critic.misread(pixels, classes)
        names = (f"{name}_right" for name in self.critic.attributes)
        return {"loss": loss, **dict(zip(names, right, strict=True))}


class CriticPictures(Dataset):
    """Pool rows over and over: as drawn where the item's number of rounds and row are even together, else roughened."""

    def __init__(self, drawn: np.ndarray, rough: np.ndarray, classes: torch.Tensor, length: int = 1 << 20) -> None:
        self.drawn, self.rough, self.classes, self.length = drawn, rough, classes, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, torch.Tensor, int]:
        again, row = divmod(index, len(self.drawn))
        pictures = self.drawn if (again + row) % 2 == 0 else self.rough
        return pictures[row], self.classes[row], index


def values_of(stream: MediaStream, most: int = 4096) -> dict[str, tuple]:
    """Attributes of a stream's media and their values, as far as the first ``most`` show them."""
    found: dict[str, set] = {}
    for index in range(min(most, len(stream))):
        for name, value in stream.attributes(index).items():
            found.setdefault(name, set()).add(value)
    return {name: tuple(sorted(values)) for name, values in found.items()}


@torch.no_grad()
def roughened(vae: Any, pictures: np.ndarray, noise: float, batch: int = 32):
    """Pictures uint8 (H, W, 3), one after another, by way of latents with noise of a deviation up to ``noise``."""
    generator = torch.Generator().manual_seed(len(pictures))
    for start in range(0, len(pictures), batch):
        latents = encode_images(vae, pictures[start : start + batch]) / vae.config.scaling_factor
        strength = noise * torch.rand((len(latents), 1, 1, 1), generator=generator)
        decoded = vae.decode(latents + strength * torch.randn(latents.shape, generator=generator)).sample
        yield from ((decoded.clamp(-1, 1) + 1) * 127.5 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
