"""Trains the image critic (decoders.image_critic): to read attributes of images, clean and degraded.

With its features the image VAE compares its reconstructions (a perceptual loss: 1801.03924) and the image decoder its
estimates (2401.00110); by its predictions a reply chooses among candidates. No evaluation uses it, and it shares
neither code nor weights with the oracles.

Shapes: B images, H x W pixels, A attributes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from decoders.image import encode_images, image_tensor
from decoders.image_critic import FOLDER, ImageCritic
from train.foundations.autoencoders.vae import decode, load_vae
from train.foundations.classifiers.classifier_task import ClassifierTask, Item, LabelledPool, with_noise
from train.foundations.components import channels_last, weights_hash, write_component
from train.foundations.pools import BATCH, HELD_OUT_SEED, TRAIN_SEED, DataSettings, Pool, media_of
from train.settings import RecipeError, setting
from train.worlds import MediaStream, open_world


class ImageCriticTask(ClassifierTask):
    """Cross-entropy of the attributes of images, as drawn and as the VAE decodes them from noisy latents."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        data: Any = setting([], help="manifests whose records name attributes, see train.worlds; none = Toybox")
        pool: int = setting(16384, low=1, help="images, drawn once; at most")
        held_out: int = setting(512, low=1, help="images that evaluate() uses")
        size: int = setting(64, low=8, help="pixels on a side")
        widths: tuple[int, ...] = setting((24, 48, 96, 128), low=1, help="channels of the critic, level by level")
        latent_noise: float = setting(0.35, low=0, help="greatest deviation of the noise on latents")
        pixel_noise: float = setting(0.1, low=0, help="greatest deviation of the noise on pixels")
        seed: int = setting(TRAIN_SEED, low=0, help="of the stream of images")
        cache_dir: str = ".cache/pools"

    settings: Settings
    part = "critic"
    model: "CriticTraining"

    def build(self) -> None:
        chosen = self.settings
        world = open_world(chosen.data)
        stream = media_of(world, "image", chosen.seed)
        attributes = values_of(stream)
        if not attributes:
            raise RecipeError("a critic needs images that are known to have attributes: the data name none")
        self.model = CriticTraining(ImageCritic(attributes, chosen.size, chosen.widths, world.names))
        self.vae = load_vae(self.model_dir)
        self.dataset = self._images(stream, chosen.pool)
        self.held_out = self._images(media_of(world, "image", HELD_OUT_SEED, held_out=True), chosen.held_out)

    def _images(self, stream: MediaStream, most: int) -> "CriticImages":
        chosen = self.settings
        pool = Pool(stream, most, chosen.cache_dir)
        drawn = pool.pixels(chosen.size)
        how = (chosen.size, chosen.latent_noise, weights_hash(self.vae))
        degraded = pool.cached("degraded-images", lambda: degrade(self.vae, drawn, chosen.latent_noise), *how)
        classes = [self.model.critic.classes(stream.attributes(index)) for index in range(pool.count)]
        return CriticImages(drawn, torch.tensor(classes), degraded)

    def inputs(self, media: Sequence[np.ndarray], generator: torch.Generator) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] with some noise."""
        return with_noise(image_tensor(media), self.settings.pixel_noise, generator)

    def export(self, model_dir: Path) -> None:
        """``image_critic`` in the model folder."""
        write_component(self.model.critic, Path(model_dir) / FOLDER)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Share of each attribute that is read correctly, of unseen images as drawn and degraded."""
        figures, critic = {}, self.model.critic
        for name, images in (("drawn", self.held_out.media), ("rough", self.held_out.degraded)):
            _, right = critic.classification_loss(image_tensor(images), self.held_out.labels)
            figures |= {f"{name}_{each}": float(share) for each, share in zip(critic.attributes, right, strict=True)}
        return figures


class CriticTraining(nn.Module):
    """The critic and its loss."""

    def __init__(self, critic: ImageCritic) -> None:
        super().__init__()
        self.critic = channels_last(critic)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        loss, right = self.critic.classification_loss(inputs, labels)
        names = (f"{name}_right" for name in self.critic.attributes)
        return {"loss": loss, **dict(zip(names, right, strict=True))}


@dataclass(eq=False)
class CriticImages(LabelledPool):
    """``media`` as drawn where the item's number of rounds and row are even together, else ``degraded``."""

    degraded: np.ndarray

    def __getitem__(self, index: int) -> Item:
        rounds, row = divmod(index, len(self.media))
        images = self.media if (rounds + row) % 2 == 0 else self.degraded
        return images[row], self.labels[row], index


def values_of(stream: MediaStream, most: int = 4096) -> dict[str, tuple]:
    """Attributes of a stream's media and their values, as far as the first ``most`` show them."""
    found: dict[str, set] = {}
    for index in range(min(most, len(stream))):
        for name, value in stream.attributes(index).items():
            found.setdefault(name, set()).add(value)
    return {name: tuple(sorted(values)) for name, values in found.items()}


@torch.no_grad()
def degrade(vae: AutoencoderKL, images: np.ndarray, noise: float) -> Iterator[np.ndarray]:
    """Images uint8 (H, W, 3), one after another, decoded from latents with noise of a deviation up to ``noise``."""
    generator = torch.Generator().manual_seed(len(images))
    for start in range(0, len(images), BATCH):
        latents = encode_images(vae, images[start : start + BATCH]) / vae.config["scaling_factor"]
        decoded = decode(vae, with_noise(latents, noise, generator))
        yield from ((decoded.clamp(-1, 1) + 1) * 127.5 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
