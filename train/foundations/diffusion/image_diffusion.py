"""The image decoder: a Stable-Diffusion-shaped pipeline trained by flow matching on latents of the image VAE.

    nextgpt-lite train train/recipes/image_diffusion.yaml

The UNet learns to read the frozen text encoder. Captions leave attributes out, so that the decoder fills in what a
dialogue does not say; thing-colour pairs that the world holds out never occur.
Letters: B pictures, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from torch.utils.data import Dataset
from transformers import CLIPTextModel, CLIPTokenizer

from decoders.diffusion import caption_ids, flow_loss, flow_scheduler
from train.foundations.language.captions import random_caption
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, image_latents, image_things, write_component
from train.recipe import RecipeError
from train.task import Task
from train.worlds import MediaStream, open_world


class ImageDiffusionTask(Task):
    """Trains a UNet2DConditionModel on a pool of encoded pictures."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "pool": 16384,  # pictures, encoded once; at most
        "held_out": 128,  # pictures that figures are taken on
        "block_out_channels": (96, 128),
        "layers_per_block": 1,
        "norm_num_groups": 16,
        "attention_heads": 4,
        "start": "",  # folder in the model folder of a UNet to go on from; none = a new one
        "empty_share": 0.1,  # of the captions are empty
        "full_share": 0.3,  # name everything
        "pair_share": 0.15,  # name thing and colour
        "alone_share": 0.0,  # name the thing; the rest keep each attribute with chance
        "attribute_share": 0.6,
        "condition_noise": 0.1,  # deviation of the noise on conditions: projections only come near them
        "thing_weight": 3.0,  # added to the weight of latent cells that a thing touches
        "shift": 1.0,  # above 1: more training at high noise, where the caption alone can tell what is to come
        "sampling_shift": 1.0,  # above 1: more of the solver's steps at high noise
        "seed": TRAIN_SEED,
        "cache_dir": ".cache/pools",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        chosen = self.settings
        self.vae = load_vae(self.model_dir)
        self.tokenizer, text_encoder = load_text_encoder(self.model_dir)
        new = not chosen["start"]
        unet = build_unet(self.vae, text_encoder, chosen) if new else load_unet(self.model_dir / chosen["start"])
        self.flow = CaptionedFlow(unet, text_encoder, chosen["condition_noise"], chosen["shift"])
        self.model: nn.Module = self.flow
        self.world = open_world(chosen["data"])
        stream = self.world.stream("image", chosen["seed"])
        count = pool_size(stream, chosen["pool"])
        latents = image_latents(self.vae, stream, count, chosen["cache_dir"])
        size, cells = self.vae.config.sample_size, latents.shape[-1]
        things = image_things(stream, count, size, cells, chosen["cache_dir"])
        self.dataset = CaptionedLatents(latents, things, stream, chosen)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"unet": list(self.flow.unet.parameters())}

    def collate(self, items: list[tuple[torch.Tensor, torch.Tensor, str]]) -> dict[str, torch.Tensor]:
        return collate_captioned(self.tokenizer, items)

    def export(self, model_dir: Path) -> None:
        """Write ``image_decoder``, in half precision: what ``StableDiffusionPipeline.from_pretrained`` reads."""
        pipeline = StableDiffusionPipeline(
            vae=copy.deepcopy(self.vae).half(),
            text_encoder=copy.deepcopy(self.flow.text_encoder).half(),
            tokenizer=self.tokenizer,
            unet=copy.deepcopy(self.flow.unet).half(),
            scheduler=flow_scheduler(self.settings["sampling_shift"]),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        write_component(Path(model_dir) / "image_decoder", pipeline.save_pretrained)

    def evaluate(self) -> dict[str, float]:
        """Loss on unseen pictures with their captions and with captions of other pictures, and on held-out pairs."""
        chosen = self.settings
        stream = self.world.stream("image", HELD_OUT_SEED, held_out=True)
        count = pool_size(stream, chosen["held_out"])
        latents = image_latents(self.vae, stream, count, chosen["cache_dir"]).float()
        return evaluate_flow(self.flow, self.tokenizer, latents, stream)


class CaptionedLatents(Dataset):
    """Latents of pool row ``index % rows``, the weights of their cells, and a caption drawn from ``index``.

    A long epoch of few pictures. ``things`` (rows, ..., 1, h, w) says which cells a thing touches.
    """

    def __init__(
        self,
        latents: torch.Tensor,
        things: torch.Tensor,
        stream: MediaStream,
        settings: dict[str, Any],
        length: int = 1 << 20,
    ) -> None:
        self.latents, self.things, self.stream = latents, things, stream
        self.settings, self.length = settings, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        row = index % len(self.latents)
        rng = np.random.default_rng((self.settings["seed"], index))
        weight = 1 + self.settings["thing_weight"] * self.things[row]
        return self.latents[row], weight, random_caption(self.stream, row, rng, self.settings)


class CaptionedFlow(nn.Module):
    """A UNet that reads captions through the frozen text encoder, under the flow-matching loss."""

    def __init__(self, unet: nn.Module, text_encoder: CLIPTextModel, condition_noise: float, shift: float) -> None:
        super().__init__()
        self.unet = unet.to(memory_format=torch.channels_last)
        self.text_encoder = text_encoder.requires_grad_(False)
        self.condition_noise, self.shift = condition_noise, shift

    def forward(
        self, latents: torch.Tensor, input_ids: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """``latents`` (B, C, h, w), captions' ``input_ids`` (B, L) and cells' ``weight`` (B, 1, h, w) to the loss."""
        with torch.no_grad():
            condition = self.text_encoder(input_ids)[0]  # (B, L, D)
        if self.training:
            condition = condition + self.condition_noise * torch.randn_like(condition)
        return {"loss": flow_loss(lambda noisy, t: self.velocity(noisy, t, condition), latents, self.shift, weight)}

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Predicted velocity (B, C, h, w)."""
        return self.unet(noisy, timestep, encoder_hidden_states=condition).sample


def pool_size(stream: MediaStream, wanted: int) -> int:
    """As many items as are wanted and there; RecipeError where there are none."""
    if not len(stream):
        raise RecipeError(f"the data hold no {stream.modality} with a caption to train on")
    return min(wanted, len(stream))


def build_unet(vae: AutoencoderKL, text_encoder: CLIPTextModel, settings: dict[str, Any]) -> UNet2DConditionModel:
    """A UNet that attends to the caption at every level."""
    channels = tuple(settings["block_out_channels"])
    vae_factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return UNet2DConditionModel(
        sample_size=vae.config.sample_size // vae_factor,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=settings["layers_per_block"],
        norm_num_groups=settings["norm_num_groups"],
        attention_head_dim=settings["attention_heads"],  # diffusers reads this as the number of heads
        cross_attention_dim=text_encoder.config.hidden_size,
    )


def load_vae(model_dir: Path) -> AutoencoderKL:
    """The trained image VAE of the model folder, frozen, in full precision."""
    folder = Path(model_dir) / "image_decoder" / "vae"
    if not (folder / "config.json").is_file():
        raise ValueError(f"no image VAE in {folder}: train the recipe image_vae first")
    vae = AutoencoderKL.from_pretrained(folder, dtype=torch.float32)
    return vae.eval().requires_grad_(False)


def load_unet(folder: Path) -> UNet2DConditionModel:
    """A trained UNet in full precision."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"no image UNet in {folder}: train the recipe image_diffusion first")
    return UNet2DConditionModel.from_pretrained(folder, dtype=torch.float32)


def load_text_encoder(model_dir: Path) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """The tokenizer and the trained text encoder of the image and video decoders, frozen, in full precision."""
    folder = Path(model_dir) / "text_encoders"
    if not (folder / "clip" / "config.json").is_file():
        raise ValueError(f"no text encoder in {folder / 'clip'}: train the recipe text_encoders first")
    text_encoder = CLIPTextModel.from_pretrained(folder / "clip", dtype=torch.float32)
    return CLIPTokenizer.from_pretrained(folder / "clip_tokenizer"), text_encoder.eval().requires_grad_(False)


def collate_captioned(tokenizer: Any, items: list[tuple[torch.Tensor, torch.Tensor, str]]) -> dict[str, torch.Tensor]:
    """{"latents": (B, ...) float32, "weight": of their cells, "input_ids": (B, L)}."""
    latents, weights, captions = zip(*items, strict=True)
    return {
        "latents": torch.stack(latents).float(),
        "weight": torch.stack(weights).float(),
        "input_ids": caption_ids(tokenizer, captions),
    }


@torch.no_grad()
def evaluate_flow(model: CaptionedFlow, tokenizer: Any, latents: torch.Tensor, stream: MediaStream) -> dict[str, float]:
    """Flow-matching loss on unseen latents (B, ...), the stream's first, with their full captions and each other's."""
    captions = [stream.caption(row) for row in range(len(latents))]
    figures = {}
    for name, told in (("noise_loss", captions), ("noise_loss_misled", captions[1:] + captions[:1])):
        batch = {"latents": latents, "input_ids": caption_ids(tokenizer, told)}
        torch.manual_seed(HELD_OUT_SEED)
        figures[name] = float(np.mean([model(**batch)["loss"].item() for _ in range(4)]))
    return figures
