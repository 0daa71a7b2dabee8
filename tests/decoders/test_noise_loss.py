"""The noise loss of every prediction type is zero for the network that knows the answer, and only for it."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, PNDMScheduler

from decoders.diffusion import flow_scheduler, noise_loss

LATENTS = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(3))
KINDS = ("epsilon", "v_prediction", "sample")
CASES = [(family, kind) for family in (DDPMScheduler, DDIMScheduler, EulerDiscreteScheduler) for kind in KINDS]
CASES += [(PNDMScheduler, kind) for kind in KINDS[:2]]  # which knows no third


def knowing(scheduler, kind):
    """Predicts what the loss aims at from the noisy latents and the true ones."""

    def predict(noisy, steps):
        share = scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
        noise = (noisy - share.sqrt() * LATENTS) / (1 - share).sqrt()
        if kind == "v_prediction":
            return DDPMScheduler.from_config(scheduler.config).get_velocity(LATENTS, noise, steps)
        return noise if kind == "epsilon" else LATENTS

    return predict


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_the_target_is_what_the_scheduler_says(family, kind):
    scheduler = family(prediction_type=kind, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    torch.manual_seed(0)
    assert noise_loss(knowing(scheduler, kind), LATENTS, scheduler) < 1e-6
    other = "epsilon" if kind == "v_prediction" else "v_prediction"
    torch.manual_seed(0)
    assert noise_loss(knowing(scheduler, other), LATENTS, scheduler) > 0.1


def test_flow_matching_aims_at_the_velocity():
    def predict(noisy, steps):
        level = (steps / 1000).view(-1, 1, 1, 1)
        return (noisy - LATENTS) / level

    torch.manual_seed(0)
    assert noise_loss(predict, LATENTS, flow_scheduler()) < 1e-6


def test_an_unknown_prediction_type_is_refused():
    scheduler = DDPMScheduler(prediction_type="prophecy")
    with pytest.raises(ValueError, match="prophecy"):
        noise_loss(lambda noisy, steps: noisy, LATENTS, scheduler)
