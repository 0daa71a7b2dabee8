"""How diffusion networks are trained and sampled: flow matching, its solver, and the losses of other schedulers.

Flow matching: x_s = (1 - s) x_0 + s eps for a noise level s in (0, 1); the network gets t = 1000 s and predicts
the velocity eps - x_0. The solver is DPM-Solver++ in the same parametrisation.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

TRAIN_TIMESTEPS = 1000
#: What a network may have been trained to predict.
PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")

#: (noisy latents, timesteps (B,)) -> predicted velocity, of the latents' shape.
Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def flow_scheduler(shift: float = 1.0) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ for flow matching; ``shift`` > 1 spends more of the steps at high noise."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
        steps_offset=1,  # without effect here; Stable Diffusion's pipelines warn of any other value
    )


def noise_levels(count: int, device: torch.device, shift: float = 1.0) -> torch.Tensor:
    """Noise levels (count,) in (0, 1): the middle ones, where most is to be learnt, come most often.

    Their logits are normal, with one from each of ``count`` equally likely strata, in random order; ``shift`` > 1
    raises them all.
    """
    strata = torch.randperm(count, device=device)
    chance = ((strata + torch.rand(count, device=device)) / count).clamp(1e-4, 1 - 1e-4)
    levels = torch.sigmoid(torch.special.ndtri(chance))
    return shift * levels / (1 + (shift - 1) * levels)


def flow_loss(
    predict: Predict, latents: torch.Tensor, shift: float = 1.0, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared error of the predicted velocity at random noise levels (flow matching), a scalar.

    ``weight``, broadcast over the latents, says how much each of their elements counts; its scale does not matter.
    """
    levels = noise_levels(len(latents), latents.device, shift)  # (B,)
    noise = torch.randn_like(latents)
    spread = levels.view(-1, *[1] * (latents.ndim - 1)).to(latents.dtype)
    noisy = (1 - spread) * latents + spread * noise
    velocity = predict(noisy, levels * TRAIN_TIMESTEPS)
    error = (velocity.float() - (noise - latents).float()).square()
    return error.mean() if weight is None else (error * (weight / weight.mean())).mean()


def noise_loss(predict: Predict, latents: torch.Tensor, scheduler: Any) -> torch.Tensor:
    """A diffusion decoder's own training loss at random noise levels of latents (B, ...), a scalar.

    Flow matching; of EDM's schedulers (2206.00364) x_t = cos(a) x_0 + sin(a) eps, where the network sees a in quarter
    turns and predicts v = cos(a) eps - sin(a) x_0; or x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with the scheduler's a_t
    (2006.11239, eq. 4) and as the target eps, x_0, or v = sqrt(a_t) eps - sqrt(1 - a_t) x_0 (2202.00512, App. D). So
    it is for schedulers of the Euler kind too: their ``add_noise`` gives x_t / sqrt(a_t), which no network sees
    unscaled. Raises ValueError for an unknown prediction type.
    """
    config = scheduler.config
    if type(scheduler).__name__.startswith("FlowMatch"):
        return flow_loss(predict, latents, config.get("shift", 1.0))
    kind = config.get("prediction_type", "epsilon")
    if "sigma_data" in config:
        return _edm_loss(predict, latents, kind, config.sigma_data)
    if kind not in PREDICTIONS:
        raise ValueError(f"prediction type {kind!r} is unknown: expected one of {', '.join(PREDICTIONS)}")
    if kind == "flow_prediction":
        return flow_loss(predict, latents, config.get("flow_shift", 1.0))
    steps = torch.randint(config.num_train_timesteps, (len(latents),), device=latents.device)
    noise = torch.randn_like(latents)
    share = scheduler.alphas_cumprod.to(latents.device)[steps].view(-1, *[1] * (latents.ndim - 1)).to(latents.dtype)
    signal, spread = share.sqrt(), (1 - share).sqrt()
    targets = {"epsilon": noise, "sample": latents, "v_prediction": signal * noise - spread * latents}
    predicted = predict(signal * latents + spread * noise, steps)
    return (predicted.float() - targets[kind].float()).square().mean()


def _edm_loss(predict: Predict, latents: torch.Tensor, kind: str, deviation: float) -> torch.Tensor:
    """As Stable Audio is trained: v-prediction of data of unit deviation. ValueError for anything else."""
    if kind != "v_prediction" or deviation != 1:
        raise ValueError(
            f"prediction type {kind!r} of data with deviation {deviation} is unknown to this loss: expected "
            "'v_prediction' and 1"
        )
    levels = noise_levels(len(latents), latents.device)  # (B,)
    angle = (levels * math.pi / 2).view(-1, *[1] * (latents.ndim - 1)).to(latents.dtype)
    noise = torch.randn_like(latents)
    predicted = predict(angle.cos() * latents + angle.sin() * noise, levels)
    return (predicted.float() - (angle.cos() * noise - angle.sin() * latents).float()).square().mean()
