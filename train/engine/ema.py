"""An exponential moving average of the trained weights: what diffusion models are sampled from."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from train.engine.processes import local, sharded_like, whole


class ExponentialMovingAverage:
    """Averages the trainable parameters of a model; frozen ones never change, so they are left out."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"ema decay must lie between 0 and 1, not {decay}")
        self.decay = decay
        self.average = {n: p.detach().clone().float() for n, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model's weights; the first steps move faster, since they start from noise."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = dict(model.named_parameters())
        for name, average in self.average.items():
            self.average[name] = sharded_like(average, current[name])
        averages = [local(average) for average in self.average.values()]
        values = [local(current[name]).detach().to(own) for name, own in zip(self.average, averages, strict=True)]
        get_ema_multi_avg_fn(decay)(averages, values, step)

    def state(self) -> dict[str, torch.Tensor]:
        """Whole tensors to save; packed, since channels-last weights are not. Every process must call it."""
        return {name: whole(value).contiguous() for name, value in self.average.items()}

    def load(self, path: Path) -> None:
        stored = load_file(path)
        if stored.keys() != self.average.keys():
            wrong = sorted(stored.keys() ^ self.average.keys())
            raise ValueError(f"{path} does not fit this model: {len(wrong)} keys differ, the first is {wrong[0]!r}")
        for name, value in stored.items():
            self.average[name] = sharded_like(value.to(self.average[name].device), self.average[name])
