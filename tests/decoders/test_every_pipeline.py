"""Pipelines with an ``encode_prompt`` of their own: conditions, media, latents and losses, on their real classes.

Whether stages train for them and chats answer with them is held by tests/train/stages/test_every_decoder.py.
"""

import json

import numpy as np
import pytest
import torch

from decoders import load_decoder
from decoders.base import notes_hidden
from decoders.prompted import padding_mask
from tests.decoders.tiny_pipelines import BUILDERS, SETTINGS

CAPTION = "bell red"
#: What a pipeline must be told to make what the decoder makes, besides the caption.
TOLD = {
    "StableDiffusion3Pipeline": {"max_sequence_length": 10},
    "SanaPipeline": {"max_sequence_length": 10, "height": 32, "width": 32, "use_resolution_binning": False},
    "FluxPipeline": {"max_sequence_length": 10, "height": 32, "width": 32},
    "TextToVideoSDPipeline": {"num_frames": 4},
    "LTXPipeline": {"max_sequence_length": 10, "num_frames": 9, "height": 32, "width": 32},
    "WanPipeline": {"max_sequence_length": 10, "num_frames": 5, "height": 16, "width": 16},
    "AudioLDM2Pipeline": {},
    "StableAudioPipeline": {"audio_end_in_s": 0.25},
}


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    made = {}

    def load(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            BUILDERS[name]().save_pretrained(folder)
            (folder / "decoder.json").write_text(json.dumps(SETTINGS[name]))
            made[name] = load_decoder(folder)
        return made[name]

    return load


@pytest.mark.parametrize("name", BUILDERS)
def test_captions_and_media(name, decoders):
    decoder = decoders(name)
    condition = decoder.encode_caption([CAPTION, "a"])
    assert condition.shape == (2, *decoder.condition_shape)
    steps = []
    ours, _ = decoder.decode(condition, seeds=[5, 6], on_step=lambda step, _: steps.append((step, decoder.preview())))
    assert [step for step, _ in steps] == [1, 2]
    assert ours.dtype == (np.float32 if decoder.modality == "audio" else np.uint8)
    with notes_hidden("was truncated"):
        theirs = decoder.pipeline(
            CAPTION, generator=torch.Generator().manual_seed(5), num_inference_steps=2,
            guidance_scale=decoder.default_guidance, output_type="np", **TOLD[name],
        )[0]  # fmt: skip
    theirs = decoder.to_media(np.asarray(theirs))[0]
    assert np.abs(ours.astype(np.float64) - theirs).max() <= (1e-4 if decoder.modality == "audio" else 1)
    other = decoder.decode(condition[1:], seeds=[5])[0]
    assert np.abs(other.astype(np.float64) - theirs).max() > 0
    assert decoder.resize(ours, decoder.rate).shape[1:] == ours.shape[1:]


@pytest.mark.parametrize("name", BUILDERS)
def test_the_noise_loss_reaches_the_condition_and_not_the_network(name, decoders):
    decoder = decoders(name)
    medium = decoder.decode(decoder.encode_caption([CAPTION]), seeds=[1])[0]
    latents = decoder.encode_media([decoder.resize(medium, decoder.rate)] * 2)
    condition = decoder.encode_caption([CAPTION, "a"]).requires_grad_()
    torch.manual_seed(0)
    loss = decoder.noise_loss(latents, condition)
    loss.backward()
    assert loss.ndim == 0 and 0 < float(loss.detach()) < 10
    assert condition.grad is not None and condition.grad.abs().amax(dim=(1, 2)).min() > 0
    assert all(part.grad is None for part in decoder.network.parameters())


def test_frames_that_a_video_autoencoder_cannot_make(tmp_path):
    BUILDERS["WanPipeline"]().save_pretrained(tmp_path)
    (tmp_path / "decoder.json").write_text('{"frames": 6, "size": 16}')
    with pytest.raises(ValueError, match=r"decoder.json: frames must be one more than a multiple of 4, not 6"):
        load_decoder(tmp_path)


def test_sounds_longer_than_the_network(tmp_path):
    BUILDERS["StableAudioPipeline"]().save_pretrained(tmp_path)
    (tmp_path / "decoder.json").write_text('{"seconds": 9}')
    with pytest.raises(ValueError, match=r"decoder.json: seconds must be at most 0.512, not 9"):
        load_decoder(tmp_path)


def test_padding_is_what_is_near_zero():
    states = torch.tensor([[[3.0, 4.0], [0.3, 0.3], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    assert padding_mask(states).tolist() == [[1, 0, 1], [1, 0, 0]]
