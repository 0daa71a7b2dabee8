"""What a reward says beside the others for the same request (GRPO, 2402.03300, Sec. 4.1).

Shapes: P requests, G answers to each.
"""

import torch

_LEAST_DEVIATION = 1e-4


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Rewards (P, G) -> advantages (P, G): by how many deviations of its group each lies above that group's mean.

    Of a group whose rewards are all the same there is nothing to learn: zeros.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    deviation = rewards.std(dim=1, keepdim=True, unbiased=False)
    return torch.where(deviation > _LEAST_DEVIATION, centred / deviation.clamp_min(_LEAST_DEVIATION), 0.0)


def policy_loss(log_probability: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Minus the mean of advantage times probability ratio, for log-probabilities (N,) of answers that were drawn from
    the very policy that is trained: the ratio is 1, and its gradient that of the log-probability."""
    return -(advantages * (log_probability - log_probability.detach()).exp()).mean()
