"""What the image and the audio VAE share: an AutoencoderKL built, loaded, and its latents standardised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import nn

from data.strict import read_json
from train.foundations.components import frozen, load_component

ImageVae = AutoencoderKL | AutoencoderDC
#: Of the latents of a VAE that has no posterior.
LOG_VARIANCE = -6.0


def build_vae(channels: Sequence[int], latent_channels: int, groups: int, **options: Any) -> AutoencoderKL:
    """An untrained AutoencoderKL that halves its input once fewer than it has ``channels``.

    ``groups`` are those of the group norms; ``options`` are further arguments of AutoencoderKL.
    """
    shape: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "block_out_channels": tuple(channels),
        "norm_num_groups": groups,
        "latent_channels": latent_channels,
        "mid_block_add_attention": False,
        "scaling_factor": 1.0,
    }
    return AutoencoderKL(**shape | options)


def build_residual_vae(channels: Sequence[int], latent_channels: int, sample_size: int) -> AutoencoderDC:
    """An untrained deep compression autoencoder (DC-AE, 2410.10733): around every change of resolution pixels go into
    channels and back by themselves, so that the layers learn what is missing. It trains several times faster, and no
    layer works at full resolution. It has no posterior; Stable Diffusion's pipelines ask for two more settings.
    """
    layers = range(1, len(channels))
    blocks: dict[str, Any] = {
        "encoder_block_types": "ResBlock",
        "decoder_block_types": "ResBlock",
        "encoder_block_out_channels": tuple(channels),
        "decoder_block_out_channels": tuple(channels),
        "encoder_layers_per_block": (0, *(1 for _ in layers)),
        "decoder_layers_per_block": (0, *(2 for _ in layers)),
        "encoder_qkv_multiscales": ((),) * len(channels),
        "decoder_qkv_multiscales": ((),) * len(channels),
        "upsample_block_type": "pixel_shuffle",
        "downsample_block_type": "pixel_unshuffle",
    }
    vae = AutoencoderDC(latent_channels=latent_channels, scaling_factor=1.0, **blocks)
    vae.register_to_config(block_out_channels=tuple(channels), sample_size=sample_size)
    return vae


def load_vae(model_dir: Path, modality: str = "image") -> Any:
    """The trained VAE of the image or audio decoder of a model folder, frozen. ValueError where there is none."""
    folder = Path(model_dir) / f"{modality}_decoder" / "vae"
    return frozen(load_component(vae_class(folder), folder, f"{modality} VAE", f"{modality}_vae"))


def vae_class(folder: Path) -> type[ImageVae]:
    """The class that the configuration in ``folder`` names; AutoencoderKL where there is none."""
    path = folder / "config.json"
    name = read_json(path).get("_class_name") if path.is_file() else None
    return AutoencoderDC if name == AutoencoderDC.__name__ else AutoencoderKL


def posterior(vae: ImageVae, inputs: torch.Tensor) -> DiagonalGaussianDistribution:
    """The distribution of the latents (B, C, h, w) of inputs (B, 3 or 1, H, W); its deviation is fixed for a DC-AE."""
    encoded = vae.encode(inputs, return_dict=False)[0]
    if isinstance(encoded, DiagonalGaussianDistribution):
        return encoded
    return DiagonalGaussianDistribution(torch.cat((encoded, torch.full_like(encoded, LOG_VARIANCE)), dim=1))


def decode(vae: ImageVae, latents: torch.Tensor) -> torch.Tensor:
    """What latents (B, C, h, w) are decoded to."""
    network: Any = vae  # whose annotation asks for a torch.FloatTensor
    return network.decode(latents, return_dict=False)[0]


def kl_divergence(distribution: DiagonalGaussianDistribution) -> torch.Tensor:
    """The mean Kullback-Leibler divergence of a latent value to the unit Gaussian, a scalar."""
    return distribution.kl().mean() / distribution.mean[0].numel()


def layer_parameters(layer: nn.Conv2d | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one of the 1 x 1 convolutions on both sides of the latents."""
    if layer is None or layer.bias is None:
        raise ValueError("the VAE has no convolutions with a bias before and after its latents: expected such ones")
    return layer.weight, layer.bias


@torch.no_grad()
def shift_log_variances(vae: ImageVae, by: float) -> None:
    """Add ``by`` to the log variance of every latent value, where the VAE has one."""
    if isinstance(vae, AutoencoderDC):
        return
    _, bias = layer_parameters(vae.quant_conv)
    bias[vae.config["latent_channels"] :] += by


@torch.no_grad()
def standardise_latents(vae: ImageVae, inputs: torch.Tensor) -> None:
    """Give every latent channel mean 0 and deviation 1 over ``inputs`` (N, ...), reconstructions unchanged.

    The change goes into the 1 x 1 convolutions around the latents, since a pipeline knows a scaling factor only. An
    AutoencoderDC has none; by its scaling factor all channels together get deviation 1.
    """
    latents = torch.cat([posterior(vae, batch).mean for batch in inputs.split(32)])  # (N, C, h, w)
    if isinstance(vae, AutoencoderDC):
        vae.register_to_config(scaling_factor=1 / float(latents.std()))
        return
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))  # (C,)
    (to_weight, to_bias), (from_weight, from_bias) = map(layer_parameters, (vae.quant_conv, vae.post_quant_conv))
    channels = len(mean)
    from_bias += from_weight[:, :, 0, 0] @ mean
    from_weight *= deviation.view(1, -1, 1, 1)
    to_weight[:channels] /= deviation.view(-1, 1, 1, 1)
    to_bias[:channels] = (to_bias[:channels] - mean) / deviation
    to_bias[channels:] -= 2 * deviation.log()  # the log variances
