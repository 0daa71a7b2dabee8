"""The image VAE: 64 x 64 pixels to 8 x 8 latents of 16 channels, for the image and the video decoder.

Shapes: B images, H x W pixels, C latent channels, h x w latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from decoders.image import image_tensor
from decoders.image_critic import ImageCritic, load_critic
from train.foundations.autoencoders import vae as vaes
from train.foundations.autoencoders.trunk_distance import TrunkDistance
from train.foundations.components import channels_last, half_copy, write_component
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, DataSettings
from train.settings import RecipeError, setting
from train.task import Task
from train.worlds import World, open_world


@dataclass(frozen=True)
class ImageVaeSettings(DataSettings):
    """Settings of :class:`ImageVaeTask`."""

    pictures: int = setting(65536, low=1, help="images in an epoch, at most; Toybox draws them as they are needed")
    frame_share: float = setting(0.35, low=0, high=1, help="share of the images that are single frames of videos")
    held_out: int = setting(128, low=1, help="images that evaluate() uses")
    image_size: int = setting(64, low=8)
    block_out_channels: tuple[int, ...] = setting((16, 32, 48, 64), low=1)
    layers_per_block: int = setting(1, low=1)
    norm_num_groups: int = setting(1, low=1, help="several groups of few channels each are much slower on a CPU")
    latent_channels: int = setting(16, low=1)
    square_weight: float = setting(2.0, low=0, help="of the squared error; small coloured things stay grey without it")
    colour_weight: float = setting(1.0, low=0, help="of errors in colour against brightness, in the squared error")
    residual: bool = setting(False, help="a deep compression autoencoder (DC-AE)")
    start: str = setting("", help="folder in the model folder of a VAE to go on from; none = a new one")
    noise_shift: float = setting(0.0, help="added to that VAE's log variances: a stronger pull takes hold at once")
    standardise: bool = setting(True, help="latents to unit deviation; false once diffusion is trained on them")
    thing_weight: float = setting(0.0, low=0, help="added to the weight of pixels that captions speak of")
    latent_noise: float = setting(0.0, low=0, help="least deviation of the noise on latents that are decoded")
    noise_up_to: bool = setting(False, help="that deviation is drawn for each image, from 0 to latent_noise")
    perceptual_weight: float = setting(0.0, low=0, help="of a perceptual loss")
    perceptual: str = setting(
        "critic", choices=("critic", "trunk"), help="by the recipe image_critic, or by a classifier of photographs"
    )
    equivariance: float = setting(
        0.0, low=0, high=1, help="share of the steps that turn and shrink the latents and expect the same of the image"
    )
    gradient_weight: float = setting(0.25, low=0, help="of the loss on differences of neighbouring pixels")
    kl_weight: float = setting(1e-5, low=0, help="of the Kullback-Leibler divergence of a latent value")
    seed: int = setting(TRAIN_SEED, low=0, help="of the stream of images")


class ImageVaeTask(Task):
    """Trains an AutoencoderKL on images and on single frames of videos."""

    Settings = ImageVaeSettings
    settings: ImageVaeSettings
    model: VaeObjective

    def build(self) -> None:
        chosen = self.settings
        if chosen.start:
            folder = self.model_dir / chosen.start
            vae: vaes.ImageVae = vaes.vae_class(folder).from_pretrained(folder, dtype=torch.float32)
        elif chosen.residual:
            vae = vaes.build_residual_vae(chosen.block_out_channels, chosen.latent_channels, chosen.image_size)
        else:
            vae = build_image_vae(chosen)
        vaes.shift_log_variances(vae, chosen.noise_shift)
        critic = None
        if chosen.perceptual_weight:
            critic = TrunkDistance() if chosen.perceptual == "trunk" else load_critic(self.model_dir)
        self.model = VaeObjective(vae, chosen, critic)
        self.world = open_world(chosen.data)
        self.dataset = self.images = self._images(chosen.pictures, chosen.seed, chosen.frame_share)

    def _images(self, count: int, seed: int, frame_share: float, held_out: bool = False) -> ImagesAndFrames:
        return ImagesAndFrames(self.world, count, seed, frame_share, self.settings.image_size, held_out)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        vae = self.model.vae
        around = (getattr(vae, name, None) for name in ("quant_conv", "post_quant_conv"))
        before, after = ([] if layer is None else layer.parameters() for layer in around)
        return {"encoder": [*vae.encoder.parameters(), *before], "decoder": [*vae.decoder.parameters(), *after]}

    def collate(self, items: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, torch.Tensor]:
        """{"pixels": (B, 3, H, W) in [-1, 1], "mask": (B, 1, H, W), how much of a pixel things cover}."""
        images, masks = zip(*items, strict=True)
        pixels = image_tensor(images).contiguous(memory_format=torch.channels_last)
        return {"pixels": pixels, "mask": torch.from_numpy(np.stack(masks))[:, None]}

    def writes(self) -> str:
        return "image_decoder/vae"

    def export(self, model_dir: Path) -> None:
        """Write ``image_decoder/vae`` in half precision, its latents standardised on the first images."""
        if self.settings.standardise:
            first = [self.images[index][0] for index in range(min(512, len(self.images)))]
            vaes.standardise_latents(self.model.vae, image_tensor(first))
        write_component(half_copy(self.model.vae), Path(model_dir) / "image_decoder" / "vae")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Peak signal-to-noise ratio (dB) of unseen images and frames, and the deviation of their latents."""
        figures = {}
        for name, frame_share in (("picture", 0.0), ("frame", 1.0)):
            held_out = self._images(self.settings.held_out, HELD_OUT_SEED, frame_share, held_out=True)
            if held_out.frame_share != frame_share:
                continue  # the world has no such media
            pixels = image_tensor([held_out[index][0] for index in range(len(held_out))])
            latents = vaes.posterior(self.model.vae, pixels).mean
            error = (vaes.decode(self.model.vae, latents).clamp(-1, 1) - pixels).square().mean(dim=(1, 2, 3)) / 4
            figures |= {f"{name}_psnr": float(-10 * error.log10().mean()), f"{name}_deviation": float(latents.std())}
        return figures


class ImagesAndFrames(Dataset):
    """The first ``count`` images of a world, some of them single frames of its videos, all where it has no images.

    Items are uint8 (H, W, 3) and, float32 (H, W), how much of a pixel captions name. RecipeError if there is neither.
    """

    def __init__(
        self, world: World, count: int, seed: int, frame_share: float, size: int = 128, held_out: bool = False
    ) -> None:
        self.stills, self.videos = (world.stream(kind, seed, held_out) for kind in ("image", "video"))
        if not len(self.stills) and not len(self.videos):
            raise RecipeError("the image VAE needs images or videos, and the data hold neither")
        self.frame_share = 0.0 if not len(self.videos) else 1.0 if not len(self.stills) else frame_share
        self.count, self.seed, self.size = min(count, max(len(self.stills), len(self.videos))), seed, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < self.count:
            raise IndexError(f"image {index} of {self.count}")
        rng = np.random.default_rng((self.seed, index))
        if rng.random() >= self.frame_share:
            row = index % len(self.stills)
            return self.stills.medium(row, self.size), self.stills.mask(row, self.size)
        row = index % len(self.videos)
        frames = self.videos.medium(row, self.size)
        frame = int(rng.integers(len(frames)))
        return frames[frame], self.videos.mask(row, self.size, frame, len(frames))


class VaeObjective(nn.Module):
    """L1 and squared error of pixels, L1 of their differences, a pull of the posterior to the unit Gaussian, and a
    perceptual loss. Weights as in :class:`ImageVaeSettings`."""

    def __init__(
        self, vae: vaes.ImageVae, weights: ImageVaeSettings, critic: ImageCritic | TrunkDistance | None = None
    ) -> None:
        super().__init__()
        self.vae, self.weights, self.critic = channels_last(vae), weights, critic

    def forward(
        self, pixels: torch.Tensor, mask: torch.Tensor, given: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """``pixels`` (B, 3, H, W) in [-1, 1] and ``mask`` (B, 1, H, W) of things to the loss and its parts.

        ``given`` (G, C, h, w) are latents from elsewhere for the first G images, in place of the encoder's.
        """
        weights = self.weights
        distribution = vaes.posterior(self.vae, pixels)
        least = torch.full_like(distribution.std[:, :1, :1, :1], weights.latent_noise)
        if weights.noise_up_to:
            least = least * torch.rand_like(least)
        latents = distribution.mean + distribution.std.clamp(min=least) * torch.randn_like(distribution.mean)
        if given is not None:
            latents = torch.cat((given.to(latents), latents[len(given) :]))
        if self.training and weights.equivariance and float(torch.rand(())) < weights.equivariance:
            latents, pixels, mask = turned_and_shrunk(latents, pixels, mask)
        decoded = vaes.decode(self.vae, latents).float()
        error = decoded - pixels
        weight = 1 + weights.thing_weight * mask
        weight = weight / weight.mean()
        absolute = (weight * error.abs()).mean()
        later = {dim: weight.narrow(dim, 1, weight.shape[dim] - 1) for dim in (-1, -2)}
        edges = torch.stack([(own * error.diff(dim=dim).abs()).mean() for dim, own in later.items()]).sum()
        divergence = vaes.kl_divergence(distribution)
        brightness = error.mean(dim=1, keepdim=True)
        colour = (weight * (error - brightness).square()).mean()
        square = (weight * brightness.square()).mean() + weights.colour_weight * colour
        loss = absolute + weights.square_weight * square + weights.gradient_weight * edges
        loss = loss + weights.kl_weight * divergence
        parts = {"square": square.detach(), "edges": edges.detach(), "kl": divergence.detach()}
        if self.critic is not None:
            perceptual = self.critic.distance(decoded, pixels, weight)
            loss, parts["perceptual"] = loss + weights.perceptual_weight * perceptual, perceptual.detach()
        return {"loss": loss, **parts}


def turned_and_shrunk(latents: torch.Tensor, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Latents (B, C, h, w) and images (B, c, H, W), all turned by the same quarters and shrunk to the same share.

    A VAE that decodes them to each other has latents that keep the image's geometry (EQ-VAE, 2502.09509), on which
    diffusion trains faster.
    """
    quarters, side = int(torch.randint(4, ())), latents.shape[-1]
    share = int(torch.randint(side // 2, side + 1, ())) / side
    shrunk = (latents, *images)
    if share < 1:
        sizes = [round(each.shape[-1] * share) for each in shrunk]
        shrunk = tuple(
            functional.interpolate(each, size=size, mode="bilinear", antialias=True)
            for each, size in zip(shrunk, sizes, strict=True)
        )
    return tuple(each.rot90(quarters, (-2, -1)) for each in shrunk)


def build_image_vae(settings: ImageVaeSettings) -> AutoencoderKL:
    """An AutoencoderKL whose residual blocks start as identities and whose posterior has nearly no noise at first."""
    shape = (settings.block_out_channels, settings.latent_channels, settings.norm_num_groups)
    vae = vaes.build_vae(*shape, layers_per_block=settings.layers_per_block, sample_size=settings.image_size)
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            for parameter in module.conv2.parameters():
                nn.init.zeros_(parameter)
    vaes.shift_log_variances(vae, -6.0)
    return vae
