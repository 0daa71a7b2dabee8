"""The audio decoder around a tiny untrained AudioLDMPipeline of the real classes."""

import logging

import numpy as np
import pytest
import torch
from diffusers import AudioLDMPipeline
from torch.nn import functional

from data.toybox import TAG_WORDS
from decoders import load_decoder
from decoders.audio import AudioDecoder, deprecation_note_hidden
from decoders.diffusion import flow_scheduler
from train.foundations.autoencoders.audio_vae import build_audio_vae
from train.foundations.autoencoders.vocoder import VocoderSettings, build_vocoder
from train.foundations.diffusion.audio_diffusion import build_audio_unet
from train.foundations.language.text_encoders import build_clap, build_clap_tokenizer

WIDTH = 32
VOCODER = VocoderSettings(
    channels=16, upsample_rates=(5, 4, 8), upsample_kernels=(11, 8, 16), kernels=(3,), dilations=(1,)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = build_clap_tokenizer(TAG_WORDS)
    with deprecation_note_hidden():
        pipeline = AudioLDMPipeline(
            vae=build_audio_vae((8, 8, 8, 8), latent_channels=4, groups=4),
            text_encoder=build_clap(len(tokenizer), WIDTH, layers=1),
            tokenizer=tokenizer,
            unet=build_audio_unet(torch.zeros(4, 25, 8), [16, 16], [False, False], layers=1, condition_width=WIDTH),
            scheduler=flow_scheduler(),
            vocoder=build_vocoder(VOCODER),
        )
    path = tmp_path_factory.mktemp("model") / "audio_decoder"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    return AudioDecoder.from_pretrained(folder)


def test_a_folder_that_says_nothing_of_phrases_takes_pooled_embeddings(folder):
    assert type(load_decoder(folder)) is AudioDecoder


def test_each_sound_depends_on_its_seed_and_not_on_the_batch(decoder):
    condition = decoder.encode_caption(["bell low-pitch", "dog"])
    first, second = decoder.decode(condition, seeds=[1, 2], steps=2)
    assert first.shape == second.shape == (32_000,) and first.dtype == np.float32
    assert np.abs(first).max() <= 1
    (alone,) = decoder.decode(condition[1:], seeds=[2], steps=2)
    np.testing.assert_allclose(alone, second, atol=1e-4)
    (other,) = decoder.decode(condition[1:], seeds=[3], steps=2)
    assert np.abs(other - second).max() > 1e-4


def test_the_condition_is_what_the_pipeline_makes_of_the_caption(decoder):
    captions = ["bell low-pitch fast-pace three-times", "dog"]
    condition = decoder.encode_caption(captions)
    assert condition.shape == (2, *decoder.condition_shape) == (2, 1, WIDTH)
    theirs = decoder.pipeline._encode_prompt(captions, torch.device("cpu"), 1, do_classifier_free_guidance=True)
    torch.testing.assert_close(condition[:, 0], theirs[2:])
    torch.testing.assert_close(decoder.unconditional()[0], theirs[:1])


def test_only_the_direction_of_a_condition_counts(decoder):
    condition = decoder.encode_caption(["cat"])
    (one,), (same,) = (decoder.decode(condition * scale, seeds=[5], steps=2) for scale in (1, 3))
    np.testing.assert_allclose(one, same, atol=1e-4)


def test_diffusers_own_loader_gives_the_same_sound(folder, decoder):
    pipeline = AudioLDMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(7)
    theirs = pipeline("frog high-pitch", num_inference_steps=2, guidance_scale=2.0, generator=noise).audios[0]
    (ours,) = decoder.decode(decoder.encode_caption(["frog high-pitch"]), seeds=[7], steps=2, guidance=2.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_no_sound_is_louder_than_full_scale(decoder):
    made = np.array([[0.5, -0.25, 0.0], [2.0, -4.0, 1.0]], dtype=np.float32)
    soft, loud = decoder.to_media(made)
    assert soft.tolist() == [0.5, -0.25, 0.0] and loud.tolist() == [0.5, -1.0, 0.25] and loud.dtype == np.float32


def test_on_step_counts_and_cancels(decoder):
    seen = []
    decoder.decode(decoder.unconditional(), seeds=[0], steps=3, on_step=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def cancel(step, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        decoder.decode(decoder.unconditional(), seeds=[0], steps=3, on_step=cancel)


def test_noise_loss_reaches_the_condition(decoder):
    sounds = [np.sin(np.arange(32_000) * step).astype(np.float32) * 0.3 for step in (0.1, 0.2)]
    latents = decoder.encode_media(sounds)
    assert latents.shape == (2, 4, 25, 8)
    condition = decoder.encode_caption(["bell", "cat"]).requires_grad_()
    decoder.noise_loss(latents, condition).backward()
    assert condition.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in decoder.pipeline.unet.parameters())


def test_refuses_wrong_conditions_seeds_and_folders(decoder, tmp_path):
    with pytest.raises(ValueError, match="condition of shape"):
        decoder.decode(torch.zeros(1, 2, WIDTH), seeds=[0])
    with pytest.raises(ValueError, match="2 seeds for 1 conditions"):
        decoder.decode(torch.zeros(1, 1, WIDTH), seeds=[0, 1])
    with pytest.raises(ValueError, match=r"no model_index\.json"):
        AudioDecoder.from_pretrained(tmp_path)


def test_only_the_deprecation_note_is_hidden(folder):
    logger, heard = logging.getLogger("diffusers.pipelines.pipeline_utils"), []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with deprecation_note_hidden():
            AudioLDMPipeline.from_pretrained(folder)
            logger.warning("something else")
        assert heard == ["something else"]
        AudioLDMPipeline.from_pretrained(folder)
        assert any("deprecated" in message for message in heard)
    finally:
        logger.removeHandler(handler)


def test_a_tag_word_is_few_tokens_and_reads_back():
    tokenizer = build_clap_tokenizer(TAG_WORDS)
    for word in TAG_WORDS:
        assert len(tokenizer.tokenize(word)) == 2 * word.count("-") + 1
        assert tokenizer.decode(tokenizer(word).input_ids, skip_special_tokens=True).strip() == word


def test_encoded_captions_are_unit_vectors(decoder):
    condition = decoder.encode_caption(["bell", "", "rain slow-pace"])
    torch.testing.assert_close(functional.normalize(condition, dim=-1), condition)
