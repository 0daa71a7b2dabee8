"""The three audio tasks at tiny size, in the order in which they build on each other."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data.toybox import TAG_WORDS
from decoders.audio import AudioDecoder
from train.foundations.autoencoders.audio_vae import AudioVaeTask, MelStream
from train.foundations.autoencoders.vocoder import VocoderTask
from train.foundations.diffusion.audio_diffusion import AudioDiffusionTask
from train.foundations.diffusion.captioned_flow import random_caption
from train.foundations.language.text_encoders import build_clap, build_clap_tokenizer
from train.worlds import ToyboxWorld

VAE = {"channels": [8, 8, 8, 8], "latent_channels": 4, "groups": 4, "held_out": 3}
VOCODER = {"channels": 16, "kernels": [3], "dilations": [1], "pool": 3, "frames": 20, "held_out": 2}
DIFFUSION = {
    "channels": [16, 16],
    "attention": [False, True],
    "pool": 4,
    "held_out": 3,
}


def take_steps(task, rate, steps=12, batch=2):
    """Losses of a few optimiser steps on the same batch; every part must move."""
    torch.manual_seed(0)
    parts = task.parts()
    trainable = [p for p in task.model.parameters() if p.requires_grad]
    assert {id(p) for group in parts.values() for p in group} == {id(p) for p in trainable}
    before = {name: [p.detach().clone() for p in group] for name, group in parts.items()}
    optimiser = torch.optim.AdamW(trainable, lr=rate)
    inputs = task.collate([task.dataset[index] for index in range(batch)])
    losses = []
    for _ in range(steps):
        loss = task.model(**inputs)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    for name, group in parts.items():
        assert any(not torch.equal(old, new) for old, new in zip(before[name], group, strict=True)), name
    return losses


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A model folder with a whole audio decoder, each component trained for a few steps."""
    folder, cache = tmp_path_factory.mktemp("nano"), str(tmp_path_factory.mktemp("cache"))
    build_clap(len(build_clap_tokenizer(TAG_WORDS)), width=32, layers=1).save_pretrained(folder / "text_encoders/clap")
    for kind, settings, rate in (
        (AudioVaeTask, VAE, 1e-2),
        (VocoderTask, VOCODER | {"cache": cache}, 2e-3),
        (AudioDiffusionTask, DIFFUSION | {"cache": cache}, 2e-3),
    ):
        torch.manual_seed(0)
        task = kind(settings, folder)
        losses = take_steps(task, rate)
        assert sum(losses[-3:]) < sum(losses[:3]), kind
        task.export(folder)
        figures = task.evaluate()
        assert figures and all(value >= 0 for value in figures.values()), kind
    return folder


def test_the_exported_folder_is_a_decoder_of_two_seconds(model_dir):
    decoder = AudioDecoder.from_pretrained(model_dir / "audio_decoder")
    (sound,) = decoder.decode(decoder.encode_caption(["dog"]), seeds=[0], steps=2)
    assert sound.shape == (32_000,)
    latents = decoder.encode_media([sound])
    assert latents.shape == (1, 4, 25, 8)
    names = ["vae", "unet", "vocoder", "text_encoder"]
    for name in names:
        files = list((model_dir / "audio_decoder" / name).glob("*.safetensors"))
        assert len(files) == 1
        assert all(value.dtype == torch.float16 for value in load_file(files[0]).values() if value.is_floating_point())
    assert not list(model_dir.rglob("*writing*"))


def test_exported_latents_are_standardised(model_dir):
    decoder = AudioDecoder.from_pretrained(model_dir / "audio_decoder")
    mels = torch.stack([MelStream(ToyboxWorld().stream("audio", 11))[index] for index in range(3)])
    latents = decoder.pipeline.vae.encode(mels.unsqueeze(1)).latent_dist.mean
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=0.05, rtol=0)


def test_items_depend_on_their_number_only(model_dir, tmp_path):
    settings = DIFFUSION | {"cache": str(tmp_path)}
    one, two = (AudioDiffusionTask(settings, model_dir).dataset for _ in range(2))
    assert [one[i][2] for i in range(30)] == [two[i][2] for i in range(30)]
    assert torch.equal(one[7][0], two[7][0])
    segments = VocoderTask(VOCODER | {"cache": str(tmp_path)}, model_dir).dataset
    assert torch.equal(segments[5][1], segments[5][1]) and segments[5][1].shape == (20 * 160,)


def test_captions_always_name_the_thing_and_sometimes_the_rest(model_dir, tmp_path):
    task = AudioDiffusionTask(DIFFUSION | {"cache": str(tmp_path), "empty_share": 0.0}, model_dir)
    captions = [task.dataset[index][2] for index in range(200)]
    stream = ToyboxWorld().stream("audio", 13)
    assert all(caption.split()[0] == stream.scene(i % 4).thing for i, caption in enumerate(captions))
    words = sum(len(caption.split()) - 1 for caption in captions) / 200
    assert 1.5 < words < 2.1  # three attributes, each kept with chance 0.6
    alone = replace(task.settings, attribute_share=0.0)
    assert random_caption(stream, 0, np.random.default_rng(0), alone) == stream.scene(0).thing


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="unknown key 'chanels': did you mean 'channels'"):
        AudioVaeTask({"chanels": []}, tmp_path)
    with pytest.raises(ValueError, match="train the recipe audio_vae first"):
        VocoderTask({}, tmp_path)
    with pytest.raises(ValueError, match="train the recipe audio_vae first"):
        AudioDiffusionTask({}, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": [True]}, "attention must have one value for each of channels, not [True]"),
        ({"empty_share": 1.5}, "empty_share must be a number, at least 0 and at most 1, not 1.5"),
        ({"channels": "wide"}, "channels must be a list, each item an integer, at least 1, not 'wide'"),
    ],
)
def test_values_out_of_range_are_named(settings, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        AudioDiffusionTask(settings, tmp_path)
