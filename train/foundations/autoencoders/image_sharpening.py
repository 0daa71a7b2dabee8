"""Sharpens the image VAE's decoder on what the UNet makes of images.

A decoder that was trained on latents of images, with or without added noise, meets others when it is used: those that
the UNet has sampled, with the UNet's own errors. Here the UNet redraws images, as SDEdit does (2108.01073): noise is
added to an image's latents, so little that the things stay where and what they are, and the UNet removes it again
by the image's caption. From the result the decoder is to reconstruct the image itself. Encoder and UNet are frozen,
so whatever was trained on these latents still fits.

Shapes: B images, C latent channels, h x w latent pixels, H x W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from decoders.base import caption_ids
from decoders.diffusion import TRAIN_TIMESTEPS
from decoders.image import encode_images
from train.engine.speed import full_precision_attention
from train.foundations.autoencoders.image_vae import ImageVaeSettings, ImageVaeTask
from train.foundations.components import channels_last, weights_hash
from train.foundations.diffusion.image_diffusion import load_unet
from train.foundations.language.text_encoders import load_clip
from train.foundations.pools import Pool, WithArrays, media_of
from train.settings import setting

BATCH = 64


class ImageSharpeningTask(ImageVaeTask):
    """A batch has redrawn images and as many others, whose latents get noise as in ``image_vae``."""

    @dataclass(frozen=True)
    class Settings(ImageVaeSettings):
        start: str = setting("image_decoder/vae", help="folder in the model folder of the VAE to sharpen")
        standardise: bool = False
        unet: str = setting("image_decoder/unet", help="folder in the model folder of the UNet that redraws")
        redrawn: int = setting(16384, low=1, help="images that it redraws, once; at most")
        least_level: float = setting(0.2, above=0, high=1, help="least noise level that is added")
        most_level: float = setting(0.65, above=0, high=1, help="greatest one: beyond, images become others")
        solver_steps: int = setting(5, low=1)
        guidance: float = setting(2.0, low=0, help="of classifier-free guidance")
        cache_dir: str = ".cache/pools"

    settings: Settings

    def build(self) -> None:
        super().build()
        chosen, size = self.settings, self.settings.image_size
        self.unet = channels_last(load_unet(self.model_dir / chosen.unet)).eval()
        self.tokenizer, self.text_encoder = load_clip(self.model_dir)
        pool = Pool(media_of(self.world, "image", chosen.seed), chosen.redrawn, chosen.cache_dir)
        how = (chosen.least_level, chosen.most_level, chosen.solver_steps, chosen.guidance)
        hashes = weights_hash(self.model.vae), weights_hash(self.unet)
        redrawn = pool.cached("redrawn", lambda: self._redrawn(pool), *how, *hashes)
        # Items: image, mask; another image, its mask (uint8, 255 = all) and its redrawn latents.
        self.dataset = WithArrays(self.images, pool.pixels(size), pool.masks(size), redrawn)

    def _redrawn(self, pool: Pool) -> Iterator[np.ndarray]:
        """Latents (C, h, w) in half precision of the pool's images, redrawn one after another."""
        stream, generator = pool.stream, torch.Generator().manual_seed(pool.stream.seed)
        for rows in pool.batches(BATCH):
            images = np.stack([stream.medium(row, self.settings.image_size) for row in rows])
            yield from self.redraw(images, [stream.caption(row) for row in rows], generator).half().numpy()

    @torch.no_grad()
    def redraw(self, images: np.ndarray, captions: list[str], generator: torch.Generator) -> torch.Tensor:
        """Latents (B, C, h, w) float32 of uint8 images (B, H, W, 3): noise is added to them, each to a level of its
        own, and the UNet removes it by the captions."""
        chosen, count = self.settings, len(images)
        with torch.autocast("cpu", dtype=torch.bfloat16), full_precision_attention():
            latents = encode_images(self.model.vae, images).float()
            condition = self.text_encoder(caption_ids(self.tokenizer, [""] * count + captions))[0]  # (2B, L, D)
            range_of_levels = chosen.most_level - chosen.least_level
            level = chosen.least_level + range_of_levels * torch.rand((count, 1, 1, 1), generator=generator)
            latents = (1 - level) * latents + level * torch.randn(latents.shape, generator=generator)
            step = level / chosen.solver_steps
            for number in range(chosen.solver_steps):
                times = ((level - number * step).flatten() * TRAIN_TIMESTEPS).repeat(2)
                both = self.unet(latents.repeat(2, 1, 1, 1), times, encoder_hidden_states=condition).sample.float()
                without, captioned = both.chunk(2)
                latents = latents - step * (without + chosen.guidance * (captioned - without))
        return latents

    def collate(self, items: list[tuple]) -> dict[str, torch.Tensor]:
        """The batch of :class:`ImageVaeTask`, redrawn images first, and their latents as ``given``."""
        redrawn = [(pixels, (mask / 255).astype(np.float32)) for _, _, pixels, mask, _ in items]
        batch = super().collate(redrawn + [item[:2] for item in items])
        return batch | {"given": torch.from_numpy(np.stack([latents for *_, latents in items])).float()}
