"""The image VAE: 64 x 64 pixels to 8 x 8 latents of 16 channels, for the image and the video decoder.

nextgpt-lite train train/recipes/image_vae.yaml
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.utils.data import Dataset

from decoders.image import image_tensor
from decoders.image_critic import ImageCritic, load_critic
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, write_component
from train.recipe import RecipeError
from train.task import Task
from train.worlds import World, open_world


class ImageVaeTask(Task):
    """Trains an AutoencoderKL on pictures and on single frames of videos."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "pictures": 65536,  # in an epoch, at most; Toybox draws them on the fly
        "frame_share": 0.35,  # of the pictures are single frames of videos
        "held_out": 128,  # pictures that figures are taken on
        "image_size": 64,
        "block_out_channels": (16, 32, 48, 64),
        "layers_per_block": 1,
        "norm_num_groups": 1,  # several groups of few channels each are much slower on a CPU
        "latent_channels": 16,
        "square_weight": 2.0,  # of the squared error: absolute error alone leaves small coloured things grey for long
        "colour_weight": 1.0,  # of errors in colour against errors in brightness, in the squared error
        "start": "",  # folder in the model folder of a VAE to go on from; none = a new one
        "noise_shift": 0.0,  # added to the log variances of that VAE, so that a stronger pull takes hold at once
        "standardise": True,  # bring latents to unit deviation; no where diffusion is trained on them already
        "thing_weight": 0.0,  # added to the weight of pixels that a thing covers: captions speak of things
        "latent_noise": 0.0,  # least deviation of the noise that the decoder meets: diffusion only comes near latents
        "noise_up_to": False,  # each picture's noise has a deviation of its own, from none to latent_noise
        "perceptual_weight": 0.0,  # of the distance of features of the critic (recipe image_critic)
        "gradient_weight": 0.25,  # of the loss on differences of neighbouring pixels
        "kl_weight": 1e-5,
        "seed": TRAIN_SEED,
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        chosen = self.settings
        start = self.model_dir / chosen["start"]
        vae = AutoencoderKL.from_pretrained(start, dtype=torch.float32) if chosen["start"] else build_vae(chosen)
        with torch.no_grad():
            vae.quant_conv.bias[vae.config.latent_channels :] += chosen["noise_shift"]
        weights = ("square_weight", "colour_weight", "thing_weight", "gradient_weight", "kl_weight", "latent_noise")
        critic = load_critic(self.model_dir) if chosen["perceptual_weight"] else None
        self.model = VaeObjective(
            vae,
            **{name: chosen[name] for name in weights},
            noise_up_to=chosen["noise_up_to"],
            critic=critic,
            perceptual_weight=chosen["perceptual_weight"],
        )
        self.world = open_world(chosen["data"])
        self.dataset = self._pictures(chosen["pictures"], chosen["seed"], chosen["frame_share"])

    def _pictures(self, count: int, seed: int, frame_share: float, held_out: bool = False) -> PictureDataset:
        return PictureDataset(self.world, count, seed, frame_share, self.settings["image_size"], held_out)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        vae = self.model.vae
        encoder = [*vae.encoder.parameters(), *vae.quant_conv.parameters()]
        return {"encoder": encoder, "decoder": [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]}

    def collate(self, items: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, torch.Tensor]:
        """{"pixels": (B, 3, H, W) in [-1, 1], "mask": (B, 1, H, W), how much of a pixel things cover}."""
        pictures, masks = zip(*items, strict=True)
        pixels = image_tensor(pictures).contiguous(memory_format=torch.channels_last)
        return {"pixels": pixels, "mask": torch.from_numpy(np.stack(masks))[:, None]}

    def export(self, model_dir: Path) -> None:
        """Write ``image_decoder/vae`` in half precision, its latents standardised on pictures of the pool."""
        vae = self.model.vae
        if self.settings["standardise"]:
            standardise_latents(vae, image_tensor([self.dataset[i][0] for i in range(min(512, len(self.dataset)))]))
        write_component(Path(model_dir) / "image_decoder" / "vae", copy.deepcopy(vae).half().save_pretrained)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Peak signal-to-noise ratio (dB) of unseen pictures and frames, and the deviation of their latents."""
        figures = {}
        for name, frame_share in (("picture", 0.0), ("frame", 1.0)):
            held_out = self._pictures(self.settings["held_out"], HELD_OUT_SEED, frame_share, held_out=True)
            if held_out.frame_share != frame_share:
                continue  # the world has no such media
            pixels = image_tensor([held_out[i][0] for i in range(len(held_out))])
            latents = self.model.vae.encode(pixels).latent_dist.mean
            error = (self.model.vae.decode(latents).sample.clamp(-1, 1) - pixels).square().mean(dim=(1, 2, 3)) / 4
            figures |= {f"{name}_psnr": float(-10 * error.log10().mean()), f"{name}_deviation": float(latents.std())}
        return figures


class PictureDataset(Dataset):
    """The first ``count`` pictures of a world, some of them single frames of its videos, all where it has no pictures.

    Items are uint8 (H, W, 3) and, float32 (H, W), how much of each pixel captions speak of. RecipeError where the
    world has neither.
    """

    def __init__(
        self, world: World, count: int, seed: int, frame_share: float, size: int = 128, held_out: bool = False
    ) -> None:
        self.images, self.films = (world.stream(kind, seed, held_out) for kind in ("image", "video"))
        if not len(self.images) and not len(self.films):
            raise RecipeError("the image VAE needs pictures or videos, and the data hold neither")
        self.frame_share = 0.0 if not len(self.films) else 1.0 if not len(self.images) else frame_share
        self.count, self.seed, self.size = min(count, max(len(self.images), len(self.films))), seed, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        rng = np.random.default_rng((self.seed, index))
        if rng.random() >= self.frame_share:
            row = index % len(self.images)
            return self.images.medium(row, self.size), self.images.mask(row, self.size)
        row = index % len(self.films)
        frames = self.films.medium(row, self.size)
        frame = int(rng.integers(len(frames)))
        return frames[frame], self.films.mask(row, self.size, frame)


class VaeObjective(nn.Module):
    """L1 and squared error of pixels, L1 of their differences, a pull of the posterior to the unit Gaussian, and how
    differently the critic sees the two pictures."""

    def __init__(
        self,
        vae: AutoencoderKL,
        square_weight: float,
        colour_weight: float,
        thing_weight: float,
        gradient_weight: float,
        kl_weight: float,
        latent_noise: float,
        noise_up_to: bool = False,
        critic: ImageCritic | None = None,
        perceptual_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.noise_up_to, self.critic, self.perceptual_weight = noise_up_to, critic, perceptual_weight
        self.vae = vae.to(memory_format=torch.channels_last)
        self.square_weight, self.colour_weight, self.thing_weight = square_weight, colour_weight, thing_weight
        self.gradient_weight, self.kl_weight, self.latent_noise = gradient_weight, kl_weight, latent_noise

    def forward(
        self, pixels: torch.Tensor, mask: torch.Tensor, given: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """``pixels`` (B, 3, H, W) in [-1, 1] and ``mask`` (B, 1, H, W) of things to the loss and its parts.

        ``given`` (G, C, h, w) are latents from elsewhere for the first G pictures, in place of the encoder's.
        """
        posterior = self.vae.encode(pixels).latent_dist
        least = torch.full_like(posterior.std[:, :1, :1, :1], self.latent_noise)
        if self.noise_up_to:
            least = least * torch.rand_like(least)
        latents = posterior.mean + posterior.std.clamp(min=least) * torch.randn_like(posterior.mean)
        if given is not None:
            latents = torch.cat((given.to(latents), latents[len(given) :]))
        decoded = self.vae.decode(latents).sample.float()
        error = decoded - pixels
        weight = 1 + self.thing_weight * mask
        weight = weight / weight.mean()
        absolute = (weight * error.abs()).mean()
        edges = sum(
            (weight.narrow(dim, 1, weight.shape[dim] - 1) * error.diff(dim=dim).abs()).mean() for dim in (-1, -2)
        )
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        brightness = error.mean(dim=1, keepdim=True)
        square = (weight * brightness.square()).mean() + self.colour_weight * (
            weight * (error - brightness).square()
        ).mean()
        loss = absolute + self.square_weight * square + self.gradient_weight * edges + self.kl_weight * divergence
        parts = {"square": square.detach(), "edges": edges.detach(), "kl": divergence.detach()}
        if self.critic is not None:
            seen = self.critic.distance(decoded, pixels, weight)
            loss, parts["seen"] = loss + self.perceptual_weight * seen, seen.detach()
        return {"loss": loss, **parts}


def build_vae(settings: dict[str, Any]) -> AutoencoderKL:
    """An AutoencoderKL that halves the picture once fewer than it has blocks."""
    channels = tuple(settings["block_out_channels"])
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=settings["layers_per_block"],
        norm_num_groups=settings["norm_num_groups"],
        latent_channels=settings["latent_channels"],
        sample_size=settings["image_size"],
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    start_quiet(vae)
    return vae


@torch.no_grad()
def start_quiet(vae: AutoencoderKL) -> None:
    """Residual blocks start as identities and the posterior nearly without noise: the first minutes count."""
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
    vae.quant_conv.bias[vae.config.latent_channels :] -= 6.0


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL, pixels: torch.Tensor) -> None:
    """Give every latent channel mean 0 and deviation 1 over ``pixels`` (N, 3, H, W), reconstructions unchanged.

    The change is folded into the 1 x 1 convolutions on both sides of the latents, since a pipeline knows a
    scaling factor only.
    """
    latents = torch.cat([vae.encode(batch).latent_dist.mean for batch in pixels.split(32)])  # (N, C, h, w)
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))  # (C,)
    to_latents, from_latents = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    from_latents.bias += from_latents.weight[:, :, 0, 0] @ mean
    from_latents.weight *= deviation.view(1, -1, 1, 1)
    to_latents.weight[:channels] /= deviation.view(-1, 1, 1, 1)
    to_latents.bias[:channels] = (to_latents.bias[:channels] - mean) / deviation
    to_latents.bias[channels:] -= 2 * deviation.log()  # the log variances
