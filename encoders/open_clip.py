"""The vision tower of CLIP, by open_clip: images -> all tokens of the tower (LLaMA-Adapter V2, 2304.15010).

It has OpenAI's names, so weights of any ViT of open_clip or of OpenAI's CLIP fit (``visual.*`` of theirs). It is not
imported by ``encoders`` itself: open_clip takes seconds to import, and only V2 needs it.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from open_clip.model import resize_pos_embed
from open_clip.transformer import QuickGELU, VisionTransformer
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from data.hashes import kept_hash
from data.strict import read_settings, setting
from encoders.base import CONFIG_FILE, WEIGHTS_FILE, Batch, Encoder, check_state, read_config, stacked
from encoders.preprocessing.vision import ImageSettings, as_rgb, preprocess_image

CHANNELS = ("rgb", "bgr")


@dataclass(frozen=True)
class OpenClipConfig:
    """Sizes of the tower; the defaults are CLIP ViT-L/14, which V2 uses.

    ``channels`` "bgr" hands over images with red and blue exchanged: V2's released weights were trained on
    images as OpenCV reads them, blue first. Weights trained here want "rgb".
    """

    size: int = setting(224, low=1)
    patch: int = setting(14, low=1)
    width: int = setting(1024, low=1)
    layers: int = setting(24, low=1)
    heads: int = setting(16, low=1)
    output_width: int = setting(768, low=1)
    quick_gelu: bool = True
    channels: str = setting("rgb", choices=CHANNELS)

    def __post_init__(self) -> None:
        if self.channels not in CHANNELS:
            raise ValueError(f"unknown channels {self.channels!r}: expected one of {', '.join(CHANNELS)}")
        if self.size % self.patch:
            raise ValueError(f"size {self.size} must be a multiple of patch {self.patch}")


class OpenClipVision(Encoder):
    """Images (B, 3, size, size) -> tokens (B, 1 + N, output width): class token first, normed and projected."""

    modalities = ("image",)

    def __init__(self, config: OpenClipConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.output_width
        self.visual = VisionTransformer(
            config.size,
            config.patch,
            config.width,
            config.layers,
            config.heads,
            mlp_ratio=4.0,
            output_dim=config.output_width,
            act_layer=QuickGELU if config.quick_gelu else nn.GELU,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            pool_type="none",  # no token is singled out: ln_post is on all of them
        )

    @property
    def image_size(self) -> int:
        return self.config.size

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return 1 + (self.config.size // self.config.patch) ** 2

    def patch_counts(self) -> dict[str, int]:
        return {"image": self.tokens}

    def set_image_size(self, size: int) -> None:
        """See images at ``size`` pixels a side: position embeddings are interpolated from those that it has.

        ValueError where ``size`` is no multiple of the patch.
        """
        self.config = replace(self.config, size=size)
        side = size // self.config.patch
        self.visual.image_size, self.visual.grid_size = (size, size), (side, side)
        positions = {"visual.positional_embedding": self.visual.positional_embedding.detach()}
        resize_pos_embed(positions, self)  # bicubic; the class token keeps its own
        self.visual.positional_embedding = nn.Parameter(positions["visual.positional_embedding"])

    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        """An image, uint8 (H, W[, 1 | 3 | 4]) -> float32 (3, size, size), as CLIP was trained."""
        self.check_modality(modality)
        image = as_rgb(array)
        if self.config.channels == "bgr":
            image = np.ascontiguousarray(image[..., ::-1])
        return preprocess_image(image, ImageSettings(size=self.config.size))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Preprocessed images (B, 3, size, size) -> tokens (B, 1 + N, output width)."""
        return self.visual(pixels)

    def patches(self, modality: str, batch: Batch) -> list[torch.Tensor]:
        """All tokens of each image (1 + N, output width), the class token first."""
        return list(self(stacked(batch)))

    def embed(self, modality: str, batch: Batch) -> torch.Tensor:
        """The class tokens of images as float32 unit vectors (B, output width)."""
        return functional.normalize(self(stacked(batch))[:, 0].float(), dim=-1)

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Weights with the names of CLIP's ``visual``. ValueError names what is missing, unknown or misshapen."""
        own = self.visual.state_dict()
        check_state(state, own, "the weights of CLIP")
        self.visual.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each atomically."""
        weights = {name: value.contiguous() for name, value in self.visual.state_dict().items()}
        self.write(Path(folder), asdict(self.config), weights)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what :meth:`save_pretrained` wrote, in evaluation mode. ValueError names what does not fit."""
        folder, tower = Path(folder), cls.from_config(folder)
        tower.load(load_file(folder / WEIGHTS_FILE))
        tower.identity = kept_hash(folder / WEIGHTS_FILE)
        return tower.eval()

    @classmethod
    def from_config(cls, folder: str | Path) -> Self:
        values = {name: value for name, value in read_config(folder).items() if name != "class"}
        return cls(read_settings(OpenClipConfig, values, str(Path(folder) / CONFIG_FILE))).eval()
