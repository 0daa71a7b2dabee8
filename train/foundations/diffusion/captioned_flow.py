"""What the diffusion tasks of images, videos and audio share: flow matching on latents with captions.

The UNet learns to read the frozen text encoder. Captions leave attributes out, so that the decoder fills in what a
dialogue does not say; thing-colour pairs that the world holds out never occur.
Shapes: B media, C latent channels, h x w latent pixels (of audio: frames x bands), L condition tokens, D their width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from torch.utils.data import Dataset

from data.atomic import atomic_folder
from decoders.diffusion import flow_loss
from train.foundations.autoencoders.vae import load_vae
from train.foundations.components import half_copy
from train.foundations.pools import HELD_OUT_SEED, DataSettings, EndlessDataset, Pool, media_of
from train.settings import setting
from train.task import Task
from train.worlds import MediaStream, open_world


@dataclass(frozen=True)
class DiffusionSettings(DataSettings):
    """Settings of all diffusion tasks. ``*_share``: which captions say how much."""

    seed: int = setting(0, low=0, help="of the stream of media, and of their captions")
    pool: int = setting(6144, low=1, help="media, encoded once; at most")
    held_out: int = setting(64, low=2, help="media that evaluate() uses")
    empty_share: float = setting(0.1, low=0, high=1, help="captions that are empty, for classifier-free guidance")
    full_share: float = setting(0.0, low=0, high=1, help="captions that name everything")
    pair_share: float = setting(0.0, low=0, high=1, help="captions that name thing and colour")
    alone_share: float = setting(0.0, low=0, high=1, help="captions that name the thing alone")
    attribute_share: float = setting(0.6, low=0, high=1, help="chance of each attribute in the other captions")
    condition_noise: float = setting(0.1, low=0, help="deviation of the noise on conditions: projections are not exact")
    cache_dir: str = ".cache/pools"
    shift: float = setting(1.0, above=0, help="> 1: more training at high noise, where captions matter most")


class DiffusionTask(Task):
    """Trains a UNet on a pool of encoded media. Subclasses say which, and what pipeline it becomes part of."""

    Settings: type[DiffusionSettings] = DiffusionSettings
    settings: DiffusionSettings
    modality: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ("vae.encoder",)
    pipeline_class: ClassVar[Any]
    pool_class: ClassVar[type[Pool]] = Pool
    held_out_seed: ClassVar[int] = HELD_OUT_SEED
    epoch_length: ClassVar[int] = EndlessDataset.length
    #: Greatest size of a file of weights that is exported; None = as diffusers has it.
    max_shard_size: ClassVar[str | None] = None

    def build(self) -> None:
        chosen = self.settings
        self.vae = load_vae(self.model_dir, "audio" if self.modality == "audio" else "image")
        self.world = open_world(chosen.data)
        self.tokenizer, text_encoder = self.load_text_encoder()
        self.pool = self._pool(chosen.seed, chosen.pool)
        latents = self.pool.latents(self.vae)
        self.model: nn.Module = self.build_flow(latents, text_encoder)
        self.captioned = CaptionedLatents(latents, self.cell_weights(latents), self.pool.stream, chosen)
        self.captioned.length = self.epoch_length
        self.dataset: Dataset = self.captioned

    def _pool(self, seed: int, most: int, held_out: bool = False) -> Pool:
        return self.pool_class(media_of(self.world, self.modality, seed, held_out), most, self.settings.cache_dir)

    @property
    def flow(self) -> CaptionedFlow:
        """The UNet and its loss, in ``model``: a sharded run puts a whole model there at its end."""
        assert isinstance(self.model, CaptionedFlow)
        return self.model

    @abstractmethod
    def load_text_encoder(self) -> tuple[Any, Any]:
        """Tokenizer and frozen text encoder of the model folder."""

    @abstractmethod
    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        """The model to train, for latents (count, ...)."""

    def cell_weights(self, latents: torch.Tensor) -> torch.Tensor:
        """The weight of each latent cell in the loss, broadcast over the pool's latents (count, ...)."""
        return torch.ones(len(latents), *[1] * (latents.ndim - 1))

    @abstractmethod
    def tokenize(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the text encoder takes of captions."""

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"unet": list(self.flow.unet.parameters())}

    def collate(self, items: list[tuple[torch.Tensor, torch.Tensor, str]]) -> dict[str, torch.Tensor]:
        """{"latents": (B, ...) float32, "weight": of their cells} and the tokens of their captions."""
        latents, weights, captions = zip(*items, strict=True)
        batch = {"latents": torch.stack(latents).float(), "weight": torch.stack(weights).float()}
        return batch | self.tokenize(captions)

    @abstractmethod
    def pipeline_parts(self, model_dir: Path) -> dict[str, Any]:
        """Components of the pipeline beside VAE, text encoder, tokenizer and UNet."""

    def writes(self) -> str:
        return f"{self.modality}_decoder"

    def export(self, model_dir: Path) -> None:
        """Write ``<modality>_decoder``, in half precision: what the pipeline's ``from_pretrained`` reads."""
        networks = {"vae": self.vae, "text_encoder": self.flow.text_encoder, "unet": self.flow.unet}
        parts = {name: half_copy(network) for name, network in networks.items()} | self.pipeline_parts(Path(model_dir))
        pipeline = self.pipeline_class(tokenizer=self.tokenizer, **parts)
        with atomic_folder(Path(model_dir) / f"{self.modality}_decoder") as folder:
            pipeline.save_pretrained(folder, max_shard_size=self.max_shard_size)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Flow-matching loss on unseen media with their full captions and, for comparison, with each other's."""
        pool = self._pool(self.held_out_seed, self.settings.held_out, held_out=True)
        latents = pool.latents(self.vae).float()
        captions = [pool.stream.caption(row) for row in range(len(latents))]
        figures = {}
        for name, used in {"noise_loss": captions, "noise_loss_misled": captions[1:] + captions[:1]}.items():
            batch = {"latents": latents, **self.tokenize(used)}
            torch.manual_seed(self.held_out_seed)
            figures[name] = float(np.mean([self.flow(**batch)["loss"].item() for _ in range(4)]))
        return figures


@dataclass(eq=False)
class CaptionedLatents(EndlessDataset):
    """Latents of pool row ``index % rows``, the weights of their cells, and a caption drawn from ``index``."""

    latents: torch.Tensor
    weights: torch.Tensor
    stream: MediaStream
    settings: DiffusionSettings

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
        row = index % len(self.latents)
        rng = np.random.default_rng((self.settings.seed, index))
        return self.latents[row], self.weights[row], random_caption(self.stream, row, rng, self.settings)


class CaptionedFlow(nn.Module):
    """A UNet that reads captions through the frozen text encoder, under the flow-matching loss."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module, condition_noise: float, shift: float) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder.requires_grad_(False)
        self.condition_noise, self.shift = condition_noise, shift

    def forward(
        self, latents: torch.Tensor, weight: torch.Tensor | None = None, **tokens: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """``latents`` (B, ...), captions' ``tokens`` (B, L) and the ``weight`` of cells to the loss."""
        condition = self.condition(**tokens)
        if self.training:
            condition = self.noisy(condition)
        return {"loss": flow_loss(lambda noisy, t: self.velocity(noisy, t, condition), latents, self.shift, weight)}

    @torch.no_grad()
    def condition(self, input_ids: torch.Tensor) -> torch.Tensor:
        """What the UNet reads of captions: (B, L, D)."""
        return self.text_encoder(input_ids)[0]

    def noisy(self, condition: torch.Tensor) -> torch.Tensor:
        """With noise: what an output projection gives comes near a caption's condition, and never equals it."""
        return condition + self.condition_noise * torch.randn_like(condition)

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Predicted velocity (B, ...)."""
        return self.unet(noisy, timestep, encoder_hidden_states=condition).sample


def random_caption(stream: MediaStream, index: int, rng: np.random.Generator, shares: DiffusionSettings) -> str:
    """A caption of item ``index`` that leaves attributes out, since a dialogue names only some of them.

    The thing is always named, unless the caption is empty: the decoder's unconditional input.
    """
    kind = rng.random() - shares.empty_share
    if kind < 0:
        return ""
    if kind < shares.full_share:
        return stream.caption(index)
    kind -= shares.full_share
    if kind < shares.pair_share:
        return stream.caption(index, lambda known: {name: known[name] for name in ("thing", "colour")})
    if kind < shares.pair_share + shares.alone_share:
        return stream.caption(index, lambda known: {"thing": known["thing"]})

    def some(known: dict[str, Any]) -> dict[str, Any]:
        return {n: v for n, v in known.items() if n == "thing" or rng.random() < shares.attribute_share}

    return stream.caption(index, some)


def build_unet(
    latents: torch.Tensor, channels: Sequence[int], attention: Sequence[bool], heads: int, **options: Any
) -> UNet2DConditionModel:
    """An untrained UNet for ``latents`` (C, h, w); ``attention`` says which levels attend, ``options`` to what."""
    shape: dict[str, Any] = {
        "sample_size": latents.shape[1],
        "in_channels": latents.shape[0],
        "out_channels": latents.shape[0],
        "block_out_channels": tuple(channels),
        "down_block_types": tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)),
        "attention_head_dim": heads,  # diffusers reads this as the number of heads
    }
    return UNet2DConditionModel(**shape | options)
