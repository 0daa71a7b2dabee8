"""What the tasks that train classifiers share: labelled media, degraded at random, the labels' cross-entropy."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from train.foundations.pools import EndlessDataset
from train.task import Task

#: A medium, the class of each of its labels, and the number of the item.
Item = tuple[np.ndarray, torch.Tensor, int]


class ClassifierTask(Task):
    """An item is (medium, labels, number); the model's ``forward(inputs, labels)`` gives the loss."""

    @abstractmethod
    def inputs(self, media: Sequence[np.ndarray], generator: torch.Generator) -> torch.Tensor:
        """Network inputs (B, ...) of media, degraded at random."""

    def collate(self, items: list[Item]) -> dict[str, torch.Tensor]:
        """{"inputs": (B, ...), "labels": (B, labels)}; what is random depends on the items' numbers only."""
        media, labels, numbers = zip(*items, strict=True)
        generator = torch.Generator().manual_seed(sum(numbers))
        return {"inputs": self.inputs(media, generator), "labels": torch.stack(labels)}


@dataclass(eq=False)
class LabelledPool(EndlessDataset):
    """``media`` with ``labels`` (count, labels), used again and again: row ``index % count``."""

    media: np.ndarray
    labels: torch.Tensor

    def __getitem__(self, index: int) -> Item:
        row = index % len(self.media)
        return self.media[row], self.labels[row], index


def with_noise(inputs: torch.Tensor, greatest: float, generator: torch.Generator) -> torch.Tensor:
    """Inputs (B, C, H, W) with noise, its deviation drawn for each of them from 0 to ``greatest``."""
    strength = greatest * torch.rand((len(inputs), 1, 1, 1), generator=generator)
    return inputs + strength * torch.randn(inputs.shape, generator=generator)
