"""A flow-matching solver with chance in it, so that a path has a probability (Flow-GRPO, 2505.05470, Sec. 4.2).

The ODE dx = v ds, from noise (s = 1) to data (s = 0), has the same marginals as the SDE
    dx = [v + d^2 / (2 s) (x + (1 - s) v)] ds + d dw,    d = a sqrt(s / (1 - s)),
of which each Euler-Maruyama step is a Gaussian: the policy of one action.
Shapes: B latents (B, ...).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch

from decoders.diffusion import TRAIN_TIMESTEPS

#: (latents, timesteps (B,)) -> velocity.
Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Step(NamedTuple):
    """One step of a path: from ``before`` at noise level ``level`` to ``after`` at ``following``."""

    level: float
    following: float
    before: torch.Tensor
    after: torch.Tensor


def levels(steps: int, shift: float) -> list[float]:
    """Noise levels from 1 to 0, ``steps`` + 1 of them; ``shift`` > 1 spends more of them at high noise."""
    even = [1 - step / steps for step in range(steps + 1)]
    return [shift * level / (1 + (shift - 1) * level) for level in even]


def transition(
    velocity: Velocity, latents: torch.Tensor, level: float, following: float, highest: float, noise: float
) -> tuple[torch.Tensor, float]:
    """Mean (B, ...) and deviation of where a step leads. ``noise`` is a; ``highest`` is the level that stands for 1 in
    d, which has no value there: that after the first step."""
    predicted = velocity(latents, torch.full((len(latents),), level * TRAIN_TIMESTEPS, device=latents.device))
    length, bounded = following - level, min(level, highest)
    diffusion = noise * (bounded / (1 - bounded)) ** 0.5
    drift = predicted + diffusion**2 / (2 * level) * (latents + (1 - level) * predicted)
    return latents + drift * length, diffusion * (-length) ** 0.5


@torch.no_grad()
def path(velocity: Velocity, latents: torch.Tensor, schedule: list[float], noise: float) -> list[Step]:
    """All steps from noise (B, ...) on, each drawn; the last one goes to its mean: no noise is left in the data."""
    found = []
    for level, following in pairwise(schedule):
        last = following == 0
        mean, deviation = transition(velocity, latents, level, following, schedule[1], 0.0 if last else noise)
        after = mean if last else mean + deviation * torch.randn_like(mean)
        found.append(Step(level, following, latents, after))
        latents = after
    return found


def log_probability(step: Step, mean: torch.Tensor, deviation: float) -> torch.Tensor:
    """Of a step whose transition has this mean and deviation: (B,), a mean over the latents' elements, which keeps it
    of the same size for latents of all sizes; without what does not depend on the network."""
    return -(step.after - mean).square().flatten(1).mean(1) / (2 * deviation**2)
