"""Sharpens the image VAE's decoder on what the UNet makes of pictures.

    nextgpt-lite train train/recipes/image_sharpening.yaml

A decoder that was trained on latents of pictures, with or without noise of its own, meets others when it is used:
those that the UNet has drawn, wrong in the UNet's own ways. Here the UNet redraws pictures, as SDEdit does
(2108.01073): noise is laid over a picture's latents, so little that the things stay where and what they are, and the
UNet takes it away again by the picture's caption. From the result the decoder is to give back the picture itself.
Encoder and UNet are frozen, so whatever was trained on these latents fits them still.

Letters: B pictures, C latent channels, h x w latent pixels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from decoders.diffusion import TRAIN_TIMESTEPS, caption_ids
from decoders.image import encode_images
from train.array_files import cached
from train.foundations.autoencoders.image_vae import ImageVaeTask
from train.foundations.diffusion.image_diffusion import load_text_encoder, load_unet, pool_size
from train.foundations.pools import image_masks, image_pictures, weights_hash
from train.precision import full_precision_attention
from train.worlds import MediaStream

BATCH = 64


class ImageSharpeningTask(ImageVaeTask):
    """An item is a redrawn picture and another one, whose latents get noise as in ``image_vae``."""

    DEFAULTS: ClassVar[dict[str, Any]] = ImageVaeTask.DEFAULTS | {
        "start": "image_decoder/vae",
        "standardise": False,
        "unet": "image_decoder/unet",  # folder in the model folder of the UNet that redraws
        "redrawn": 16384,  # pictures that it redraws, once; at most
        "least_level": 0.2,  # noise levels that are laid over them
        "most_level": 0.65,  # beyond, other things come of it
        "solver_steps": 5,
        "guidance": 2.0,
        "cache_dir": ".cache/pools",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        chosen = self.settings
        stream, size, cache_dir = self.world.stream("image", chosen["seed"]), chosen["image_size"], chosen["cache_dir"]
        count = pool_size(stream, chosen["redrawn"])
        pictures, masks = (pool(stream, count, size, cache_dir) for pool in (image_pictures, image_masks))
        self.dataset = RedrawnPictures(self.dataset, pictures, masks, self._redrawn(stream, count))

    def _redrawn(self, stream: MediaStream, count: int) -> np.ndarray:
        """Latents (count, C, h, w) in half precision of the first ``count`` pictures, redrawn."""
        chosen = self.settings
        unet = load_unet(self.model_dir / chosen["unet"]).to(memory_format=torch.channels_last).eval()
        tokenizer, text_encoder = load_text_encoder(self.model_dir)
        redraw = Redrawing(self.model.vae, unet, tokenizer, text_encoder, chosen)
        how = "-".join(str(chosen[name]) for name in ("least_level", "most_level", "solver_steps", "guidance"))
        key = f"redrawn-{stream.seed}-{count}-{how}-{stream.key}-{weights_hash(self.model.vae)}-{weights_hash(unet)}"
        return cached(chosen["cache_dir"], key, count, lambda: redraw(stream, count, chosen["image_size"]))

    def collate(self, items: list[tuple]) -> dict[str, torch.Tensor]:
        """The batch of :class:`ImageVaeTask`, redrawn pictures first, and their latents as ``given``."""
        redrawn, others = zip(*items, strict=True)
        batch = super().collate([item[:2] for item in redrawn] + list(others))
        return batch | {"given": torch.from_numpy(np.stack([item[2] for item in redrawn])).float()}


class RedrawnPictures(Dataset):
    """Items ((picture (H, W, 3), mask (H, W), redrawn latents (C, h, w)), one of ``others`` with its mask).

    ``pictures`` and ``masks`` are uint8, in the order of the latents.
    """

    def __init__(self, others: Dataset, pictures: np.ndarray, masks: np.ndarray, redrawn: np.ndarray) -> None:
        self.others, self.pictures, self.masks, self.redrawn = others, pictures, masks, redrawn

    def __len__(self) -> int:
        return len(self.others)

    def __getitem__(self, index: int) -> tuple[tuple, tuple]:
        other = self.others[index]  # IndexError beyond the last
        row = index % len(self.redrawn)
        return (self.pictures[row], np.float32(self.masks[row] / 255), self.redrawn[row]), other


class Redrawing:
    """Takes noise off pictures' latents by their captions, with ``settings`` as in the task's."""

    def __init__(
        self, vae: nn.Module, unet: nn.Module, tokenizer: Any, text_encoder: nn.Module, settings: dict[str, Any]
    ) -> None:
        self.vae, self.unet, self.tokenizer, self.text_encoder = vae, unet, tokenizer, text_encoder
        self.settings = settings

    def __call__(self, stream: MediaStream, count: int, size: int) -> Iterator[np.ndarray]:
        """Latents (C, h, w) of the first ``count`` pictures of a stream, one after another."""
        generator = torch.Generator().manual_seed(stream.seed)
        for start in range(0, count, BATCH):
            rows = range(start, min(start + BATCH, count))
            captions = [stream.caption(row) for row in rows]
            latents = self.redraw(np.stack([stream.medium(row, size) for row in rows]), captions, generator)
            yield from latents.half().numpy()

    @torch.no_grad()
    def redraw(self, pictures: np.ndarray, captions: list[str], generator: torch.Generator) -> torch.Tensor:
        """Latents (B, C, h, w) float32 of uint8 pictures (B, H, W, 3): each from a noise level of its own."""
        chosen, shape = self.settings, (len(pictures), 1, 1, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16), full_precision_attention():
            latents = encode_images(self.vae, pictures).float()
            condition = self.text_encoder(caption_ids(self.tokenizer, [""] * len(captions) + captions))[0]
            spread = chosen["most_level"] - chosen["least_level"]
            level = chosen["least_level"] + spread * torch.rand(shape, generator=generator)
            latents = (1 - level) * latents + level * torch.randn(latents.shape, generator=generator)
            step = level / chosen["solver_steps"]
            for number in range(chosen["solver_steps"]):
                velocity = self._velocity(latents, (level - number * step).flatten(), condition)
                latents = latents - step * velocity
        return latents

    def _velocity(self, noisy: torch.Tensor, level: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Guided velocity: conditions (2B, L, D) are the empty ones, then those of the captions."""
        both, steps = torch.cat((noisy, noisy)), torch.cat((level, level)) * TRAIN_TIMESTEPS
        without, told = self.unet(both, steps, encoder_hidden_states=condition).sample.float().chunk(2)
        return without + self.settings["guidance"] * (told - without)
