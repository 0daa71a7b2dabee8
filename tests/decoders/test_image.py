"""The image decoder around a tiny untrained StableDiffusionPipeline of the real classes."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from data.toybox import TAG_WORDS
from decoders.diffusion import TRAIN_TIMESTEPS, flow_loss, flow_scheduler, noise_levels
from decoders.image import ImageDecoder
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.language.text_encoders import build_clip, build_clip_tokenizer

LENGTH, WIDTH = 8, 32
VAE = {
    "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 1,
    "latent_channels": 4, "image_size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = build_clip_tokenizer(LENGTH, TAG_WORDS)
    unet = UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=build_image_vae(ImageVaeSettings(**VAE)), text_encoder=build_clip(tokenizer, WIDTH, 1),
        tokenizer=tokenizer, unet=unet, scheduler=flow_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "image_decoder"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    return ImageDecoder.from_pretrained(folder)


def test_each_image_depends_on_its_seed_and_not_on_the_batch(decoder):
    condition = decoder.encode_caption(["bell red", "dog"])
    first, second = decoder.decode(condition, seeds=[1, 2], steps=2)
    assert first.shape == second.shape == (32, 32, 3) and first.dtype == np.uint8
    (alone,) = decoder.decode(condition[1:], seeds=[2], steps=2)
    assert np.abs(alone.astype(int) - second).max() <= 1
    (other,) = decoder.decode(condition[1:], seeds=[3], steps=2)
    assert np.abs(other.astype(int) - second).max() > 1


def test_a_caption_as_prompt_and_as_condition_give_the_same_image(decoder):
    (ours,) = decoder.decode(decoder.encode_caption(["bell red one"]), seeds=[5], steps=3, guidance=2.0)
    theirs = decoder.pipeline(
        "bell red one", generator=torch.Generator().manual_seed(5), num_inference_steps=3, guidance_scale=2.0,
        output_type="np",
    ).images[0]  # fmt: skip
    assert np.abs(ours / 255 - theirs).max() < 1 / 255


def test_progress_is_reported_and_can_end_the_sampling(decoder):
    class CancelledError(Exception):
        pass

    seen = []

    def on_step(step, total):
        seen.append((step, total))
        if step == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        decoder.decode(decoder.unconditional(), seeds=[0], steps=4, on_step=on_step)
    assert seen == [(1, 4), (2, 4)]


def test_the_noise_loss_moves_the_condition_and_nothing_else(decoder):
    latents = decoder.encode_media([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    assert latents.shape == (2, 4, 4, 4)
    condition = decoder.encode_caption(["bell", "dog"]).requires_grad_()
    decoder.noise_loss(latents, condition).backward()
    assert condition.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in decoder.pipeline.unet.parameters())


def test_wrong_conditions_are_refused(decoder, tmp_path):
    with pytest.raises(ValueError, match=rf"takes \(B, {LENGTH}, {WIDTH}\)"):
        decoder.decode(torch.zeros(1, LENGTH + 1, WIDTH), seeds=[0])
    with pytest.raises(ValueError, match="2 seeds for 1 conditions"):
        decoder.decode(torch.zeros(1, LENGTH, WIDTH), seeds=[0, 1])
    with pytest.raises(ValueError, match=r"holds no decoder: it has no model_index\.json"):
        ImageDecoder.from_pretrained(tmp_path)


def test_noise_levels_are_spread_and_mostly_in_the_middle():
    levels = noise_levels(64, torch.device("cpu"))
    assert torch.all((levels > 0) & (levels < 1))
    below = torch.special.ndtr(torch.logit(levels)).sort().values
    assert torch.all((below * 64 + 1e-3).floor() >= torch.arange(64))
    assert torch.all((below * 64 - 1e-3).floor() <= torch.arange(64))
    assert noise_levels(64, torch.device("cpu"), shift=3.0).mean() > 0.6


def test_the_solver_follows_the_velocity_that_training_asks_for():
    """A network that knows the one picture there is has no loss, and sampling with it gives that picture."""
    picture = torch.randn(1, 4, 8, 8)

    def velocity(noisy, timestep):
        return (noisy - picture) / (timestep / TRAIN_TIMESTEPS).view(-1, 1, 1, 1)

    assert flow_loss(velocity, picture.expand(16, -1, -1, -1)) < 1e-6
    scheduler = flow_scheduler()
    scheduler.set_timesteps(8)
    sampled = torch.randn(1, 4, 8, 8)
    for timestep, level in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        exact = level[None] * TRAIN_TIMESTEPS  # the scheduler rounds its timesteps down
        sampled = scheduler.step(velocity(sampled, exact), timestep, sampled).prev_sample
    torch.testing.assert_close(sampled, picture, atol=1e-3, rtol=0)
