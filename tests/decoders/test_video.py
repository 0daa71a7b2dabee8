"""The video decoder around a tiny untrained AnimateDiffPipeline of the real classes."""

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline, UNet2DConditionModel

from data.toybox import TAG_WORDS
from decoders.diffusion import flow_scheduler
from decoders.video import VideoDecoder
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.diffusion.video_diffusion import extend_in_time
from train.foundations.language.text_encoders import build_clip, build_clip_tokenizer

LENGTH, WIDTH, FRAMES = 8, 32, 4
VAE = {
    "block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 1,
    "latent_channels": 4, "image_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def image_unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def decoder(image_unet, tmp_path_factory):
    tokenizer = build_clip_tokenizer(LENGTH, TAG_WORDS)
    unet = extend_in_time(image_unet, FRAMES, heads=2)
    for name, parameter in unet.named_parameters():
        if "motion_modules" in name and "proj_out" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    path = tmp_path_factory.mktemp("model") / "video_decoder"
    AnimateDiffPipeline(
        vae=build_image_vae(ImageVaeSettings(**VAE)), text_encoder=build_clip(tokenizer, WIDTH, 1),
        tokenizer=tokenizer, unet=unet, motion_adapter=None, scheduler=flow_scheduler(),
    ).save_pretrained(path)  # fmt: skip
    return VideoDecoder.from_pretrained(path)


def test_a_unet_grown_in_time_starts_as_the_image_unet_of_every_frame(image_unet):
    grown = extend_in_time(image_unet, FRAMES, heads=2)
    noisy, condition = torch.randn(2, 4, FRAMES, 4, 4), torch.randn(2, LENGTH, WIDTH)
    timestep = torch.tensor([100.0, 700.0])
    ours = grown(noisy, timestep, encoder_hidden_states=condition.repeat_interleave(FRAMES, dim=0)).sample
    for frame in range(FRAMES):
        theirs = image_unet(noisy[:, :, frame], timestep, encoder_hidden_states=condition).sample
        torch.testing.assert_close(ours[:, :, frame], theirs, atol=1e-4, rtol=1e-4)


def test_each_video_depends_on_its_seed_and_not_on_the_batch(decoder):
    condition = decoder.encode_caption(["bell red spinning", "dog"])
    steps = []
    first, second = decoder.decode(condition, seeds=[1, 2], steps=2, on_step=lambda *step: steps.append(step))
    assert first.shape == second.shape == (FRAMES, 16, 16, 3) and first.dtype == np.uint8
    assert steps == [(1, 2), (2, 2)]
    (alone,) = decoder.decode(condition[1:], seeds=[2], steps=2)
    assert np.abs(alone.astype(int) - second).max() <= 1
    (other,) = decoder.decode(condition[1:], seeds=[3], steps=2)
    assert np.abs(other.astype(int) - second).max() > 1


def test_latents_are_those_of_the_frames_and_the_noise_loss_reaches_the_condition(decoder):
    videos = np.random.default_rng(0).integers(0, 256, (2, FRAMES, 16, 16, 3), dtype=np.uint8)
    latents = decoder.encode_media(list(videos))
    assert latents.shape == (2, 4, FRAMES, 4, 4)
    torch.testing.assert_close(latents[1:, :, 2], decoder.encode_media([videos[1, 2:3]])[:, :, 0], atol=1e-4, rtol=1e-4)
    condition = decoder.encode_caption(["bell", "dog"]).requires_grad_()
    decoder.noise_loss(latents, condition).backward()
    assert condition.grad.abs().sum() > 0
