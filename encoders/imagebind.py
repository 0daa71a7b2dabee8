"""ImageBind: six towers into one space (Girdhar et al., 2305.05665), configurable from nano to ``imagebind_huge``.

The state dict has the published names and shapes, so a released checkpoint loads as it is.
Legend: B batch, S clips, L tokens, D tower width, E width of the shared space.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import torch
import torch.nn.functional as F
import yaml
from torch import nn

from data.strict import read_settings, setting
from encoders.base import check_state, read_state
from encoders.imagebind_blocks import (
    TRUNK_EPSILON,
    FirstToken,
    LogitScale,
    MotionSensorTokens,
    Normalise,
    PatchTokens,
    TextHead,
    TextTokens,
    Trunk,
)
from encoders.preprocessors import POINTS, PREPROCESSORS

#: The released model's towers.
MODALITIES = ("vision", "text", "audio", "depth", "thermal", "imu")
#: Names of patch stems in the released state dict that are not :data:`STEM_NAME`.
STEM_NAMES = {"depth": "depth_stem"}
STEM_NAME = "rgbt_stem"
#: Sizes of the released model.
HUGE = Path(__file__).with_name("imagebind_huge.yaml")


@dataclass(frozen=True)
class TowerConfig:
    """One tower. ``input_shape`` is one sample without the batch axis: vision (channels, frames, height, width),
    audio, depth and thermal (channels, height, width), imu (channels, samples), text (tokens,)."""

    width: int = setting(low=1)
    depth: int = setting(low=0)
    heads: int = setting(low=1)
    input_shape: tuple[int, ...] = setting(low=1)
    kernel: tuple[int, ...] = setting((), low=1)
    stride: tuple[int, ...] = setting((), low=1)
    vocabulary: int = setting(0, low=0)
    logit_scale: float | None = setting(None, above=0)
    drop_path: float = setting(0.0, low=0, below=1)
    head_dropout: float = setting(0.0, low=0, below=1)


@dataclass(frozen=True)
class ImageBindConfig:
    """Width of the shared space and the towers by name; a tower is for what ``encoders.preprocessors`` says."""

    shared_width: int = setting(1024, low=1)
    towers: dict[str, TowerConfig] = field(default_factory=dict)

    def __post_init__(self):
        known = dict.fromkeys([*MODALITIES, *(each.tower for each in PREPROCESSORS.values() if each.tower != POINTS)])
        if unknown := sorted(set(self.towers) - set(known)):
            raise ValueError(f"unknown towers {unknown}: expected some of {', '.join(known)}")

    @classmethod
    def huge(cls) -> Self:
        """The released model: 1,200,781,057 parameters."""
        return read_settings(cls, yaml.safe_load(HUGE.read_text(encoding="utf-8")), str(HUGE))


class ImageBind(nn.Module):
    """The towers of ``config``. Inputs are preprocessed tensors, keyed by modality (see ``encoders.preprocess_*``)."""

    def __init__(self, config: ImageBindConfig):
        super().__init__()
        self.config = config
        towers = config.towers.items()
        self.modality_preprocessors = nn.ModuleDict({name: _tokeniser(name, tower) for name, tower in towers})
        self.modality_trunks = nn.ModuleDict({name: _trunk(name, tower) for name, tower in towers})
        self.modality_heads = nn.ModuleDict({name: _head(name, tower, config.shared_width) for name, tower in towers})
        self.modality_postprocessors = nn.ModuleDict({name: _postprocessor(name, tower) for name, tower in towers})

    def forward(self, inputs: dict[str, torch.Tensor], return_tokens: bool = False) -> dict[str, torch.Tensor]:
        """{modality: tensor} -> {modality: (B, E)}: unit vectors times the tower's logit scale.

        vision (B, 3, H, W), (B, S, 3, H, W) or (B, S, 3, 2, H, W); audio (B, 1, mels, frames) or with S; depth and
        thermal (B, 1, H, W); imu (B, 6, samples); text ids (B, L). Clips are averaged after scaling and not
        normalised again, as published. ``return_tokens`` gives :meth:`patch_tokens` (B, patches, E) instead, averaged
        over clips.
        """
        if return_tokens:
            return {name: self.patch_tokens(name, x, average_clips=True) for name, x in inputs.items()}
        return {name: self._pool(name, x, self.modality_postprocessors[name]) for name, x in inputs.items()}

    def unit(self, modality: str, x: torch.Tensor) -> torch.Tensor:
        """(B, E) mean over clips of the unit vectors, without the logit scale."""
        normalise = cast(nn.Sequential, self.modality_postprocessors[modality])[0]
        return self._pool(modality, x, normalise)

    def patch_tokens(self, modality: str, x: torch.Tensor, average_clips: bool = False) -> torch.Tensor:
        """(B, S * patches, E): every patch through the head, without class token or averaging, as NExT-GPT takes them.

        Depth, thermal and imu keep their logit scale; vision and audio are unit vectors. ``average_clips`` gives
        (B, patches, E), as NExT-GPT's newest code does: each patch averaged over the clips, not normalised again.
        """
        if modality == "text":
            raise ValueError("text has no patches: expected vision, audio, depth, thermal or imu")
        flat, clips = self._fold_clips(modality, x)
        head = cast(nn.Sequential, self.modality_heads[modality])
        projected = head[-1](head[0](self.features(modality, flat)[:, 1:]))
        scaled = self.modality_postprocessors[modality](projected)
        tokens = F.normalize(scaled, dim=-1) if modality == "audio" else scaled
        tokens = tokens.unflatten(0, (-1, clips))  # (B, S, patches, E)
        return tokens.mean(dim=1) if average_clips else tokens.flatten(1, 2)

    def tokens(self, modality: str, x: torch.Tensor) -> torch.Tensor:
        """(B, L, D): the input of the trunk, for one clip a row."""
        if modality not in self.modality_preprocessors:
            raise ValueError(f"no tower for {modality!r}: this model has {', '.join(self.modality_preprocessors)}")
        if x.is_floating_point():
            x = x.to(next(self.modality_preprocessors[modality].parameters()).dtype)
        return self.modality_preprocessors[modality](x)

    def features(self, modality: str, x: torch.Tensor) -> torch.Tensor:
        """(B, L, D): the output of the trunk, for one clip a row."""
        return self.modality_trunks[modality](self.tokens(modality, x), causal=modality == "text")

    def project(self, modality: str, x: torch.Tensor) -> torch.Tensor:
        """(B, E): the head's output before normalisation, for one clip a row."""
        features = self.features(modality, x)
        head = self.modality_heads[modality]
        return head(features, x) if modality == "text" else head(features)

    def hold_in(self, dtype: torch.dtype) -> Self:
        """Keep the weights in ``dtype``, in place: half the memory, twice as fast on a CPU with bf16 instructions.

        The logit scales stay float32: they are stored as logarithms, and a rounded exponent is a wrong scale.
        """
        for part in (self.modality_preprocessors, self.modality_trunks, self.modality_heads):
            part.to(dtype)
        return self

    def _pool(self, modality: str, x: torch.Tensor, postprocessor: nn.Module) -> torch.Tensor:
        flat, clips = self._fold_clips(modality, x)
        embedded = postprocessor(self.project(modality, flat))  # (B * S, E)
        return embedded.unflatten(0, (-1, clips)).mean(dim=1) if clips > 1 else embedded

    def _fold_clips(self, modality: str, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        if modality in ("vision", "audio") and x.ndim >= 5:
            return x.flatten(0, 1), x.shape[1]
        return x, 1


def _tokeniser(modality: str, tower: TowerConfig) -> nn.Module:
    if modality == "text":
        return TextTokens(tower.vocabulary, tower.input_shape[0], tower.width)
    if modality == "imu":
        channels, samples = tower.input_shape
        return MotionSensorTokens(channels, samples, tower.kernel[0], tower.width)
    channels, *size = tower.input_shape
    return PatchTokens(
        channels, tuple(size), tower.width, tower.kernel, tower.stride, STEM_NAMES.get(modality, STEM_NAME)
    )


def _trunk(modality: str, tower: TowerConfig) -> Trunk:
    return Trunk(
        tower.width,
        tower.depth,
        tower.heads,
        extra_key=modality not in ("vision", "text"),
        first_norm=modality == "vision",
        drop_path=tower.drop_path,
    )


def _head(modality: str, tower: TowerConfig, shared_width: int) -> nn.Module:
    if modality == "text":
        return TextHead(tower.width, shared_width)
    dropout = [nn.Dropout(tower.head_dropout)] if modality == "imu" else []
    norm = nn.LayerNorm(tower.width, eps=TRUNK_EPSILON)
    return nn.Sequential(norm, FirstToken(), *dropout, nn.Linear(tower.width, shared_width, bias=False))


def _postprocessor(modality: str, tower: TowerConfig) -> nn.Sequential:
    if tower.logit_scale is None:
        return nn.Sequential(Normalise())
    return nn.Sequential(Normalise(), LogitScale(tower.logit_scale, learnable=modality == "text"))


def load_imagebind(
    path: str | Path, config: ImageBindConfig | None = None, dtype: torch.dtype = torch.float32
) -> ImageBind:
    """``imagebind_huge.pth``, or the same as safetensors, in evaluation mode; ``config`` where it is another size.

    Weights narrower or wider than ``dtype`` are cast. Raises ValueError that names the first missing, unknown,
    wrongly shaped or not finite entry, and for a file that holds more than tensors.
    """
    path = Path(path)
    state = read_state(path)
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig.huge() if config is None else config)
    check_state(state, model.state_dict(), str(path))
    model.load_state_dict({name: value.to(dtype) for name, value in state.items()}, assign=True)
    return model.eval()
