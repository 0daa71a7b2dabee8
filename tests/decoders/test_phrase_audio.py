"""Sounds from phrases: a tiny AudioLDMPipeline of the real classes, whose class label is all of a caption's phrases."""

import numpy as np
import pytest
import torch
from diffusers import AudioLDMPipeline
from torch.nn import functional

from data.atomic import write_json
from decoders import load_decoder
from decoders.audio import deprecation_note_hidden
from decoders.diffusion import flow_scheduler
from decoders.phrase_audio import PhraseAudioDecoder
from decoders.phrases import SLOTS
from train.foundations.autoencoders.audio_vae import build_audio_vae
from train.foundations.autoencoders.vocoder import VocoderSettings, build_vocoder
from train.foundations.diffusion.audio_diffusion import build_audio_unet

WIDTH, SAMPLES = 12, 40_960
VOCODER = VocoderSettings(channels=16, kernels=(3,), dilations=(1,))


def embed(texts: list[str]) -> torch.Tensor:
    """A vector of its own for each text."""
    made = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
    return functional.normalize(torch.stack(made), dim=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    levels = {"channels": [16, 16], "attention": [False, False], "layers": 1, "condition_width": SLOTS * WIDTH}
    unet = build_audio_unet(torch.zeros(4, 32, 8), **levels, resnet_time_scale_shift="scale_shift")
    vocoder = build_vocoder(VOCODER)
    vocoder.config.griffin_lim_rounds = 1
    with deprecation_note_hidden():
        pipeline = AudioLDMPipeline(
            vae=build_audio_vae((8, 8, 8, 8), latent_channels=4, groups=4),
            unet=unet,
            text_encoder=None,
            tokenizer=None,
            scheduler=flow_scheduler(),
            vocoder=vocoder,
        )
    path = tmp_path_factory.mktemp("model") / "audio_decoder"
    pipeline.save_pretrained(path)
    write_json(path / "decoder.json", {"conditions": "phrases"})
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    loaded = load_decoder(folder)
    assert isinstance(loaded, PhraseAudioDecoder)
    loaded.embed = embed
    return loaded


def test_a_sound_has_the_length_of_the_latents_and_depends_on_seed_and_caption(decoder):
    condition = decoder.encode_caption(["three high notes on a piano, loud", "a dog that barks twice"])
    assert condition.shape == (2, *decoder.condition_shape) == (2, SLOTS, WIDTH)
    first, second = decoder.decode(condition, seeds=[1, 2], steps=2)
    assert first.shape == second.shape == (SAMPLES,) and first.dtype == np.float32
    assert decoder.rate == 16_000 and np.abs(first).max() <= 1
    (alone,) = decoder.decode(condition[1:], seeds=[2], steps=2)
    np.testing.assert_allclose(alone, second, atol=1e-5)
    (other_seed,), (other_caption,) = (
        decoder.decode(each, seeds=[seed], steps=2) for each, seed in ((condition[1:], 3), (condition[:1], 2))
    )
    assert np.abs(other_seed - second).max() > 1e-3 and np.abs(other_caption - second).max() > 1e-3


def test_what_is_near_a_condition_sounds_like_it(decoder):
    """A projection gives neither unit vectors for phrases nor zeros where nothing is said."""
    condition = decoder.encode_caption(["a dog that barks twice"])
    near = 0.8 * condition + 0.05 * (condition == 0).all(-1, keepdim=True)
    (exact,), (given,) = (decoder.decode(each, seeds=[4], steps=2) for each in (condition, near))
    np.testing.assert_allclose(given, exact, atol=1e-5)
    (nothing,) = decoder.decode(torch.zeros_like(condition), seeds=[4], steps=2)
    assert np.abs(nothing - exact).max() > 1e-3


def test_noise_loss_reaches_the_condition_and_media_of_another_length_fit(decoder):
    sounds = [decoder.resize(np.ones(count, np.float32) * 0.1, 16_000) for count in (20_000, 50_000)]
    latents = decoder.encode_media(sounds)
    assert latents.shape == (2, 4, 32, 8)
    condition = decoder.encode_caption(["a bell", "a cat"]).requires_grad_()
    decoder.noise_loss(latents, condition).backward()
    assert condition.grad.abs().sum() > 0
