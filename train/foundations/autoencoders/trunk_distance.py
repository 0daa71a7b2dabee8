"""How differently two images look to a pretrained classifier (perceptual loss, 1603.08155, 1801.03924).

Shapes: B images, H x W pixels.
"""

import torch
from torch import nn
from torch.nn import functional

from data.parts import part_folder
from encoders.efficientnet import DEVIATION, MEAN, EfficientNetLite


class TrunkDistance(nn.Module):
    """Squared error of the trunk's feature maps, of unit length at each place; early maps hold edges, late ones kinds.

    Raises PartMissing where the trunk has not been fetched.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, strides: tuple[int, ...] = (4, 8, 16)) -> None:
        super().__init__()
        self.trunk, self.strides = EfficientNetLite.from_pretrained(part_folder("efficientnet")), strides
        for name, value in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "TrunkDistance":
        return super().train(False)  # the statistics of its norms stay

    def distance(self, pixels: torch.Tensor, real: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Of two batches (B, 3, H, W) in [-1, 1], weighted by (B, 1, H, W): the mean over maps and places, from 0."""
        with torch.no_grad():
            wanted = self._maps(real)
        total = pixels.new_zeros(())
        for found, target in zip(self._maps(pixels), wanted, strict=True):
            error = (found - target).square().sum(dim=1, keepdim=True)
            if weight is not None:
                error = error * functional.adaptive_avg_pool2d(weight, (error.shape[-2], error.shape[-1]))
            total = total + error.mean()
        return total / len(wanted)

    def _maps(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        maps = self.trunk.features(((pixels + 1) / 2 - self.mean) / self.deviation)
        return [functional.normalize(maps[stride], dim=1) for stride in self.strides]
