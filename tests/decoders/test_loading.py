"""Which decoder a folder gets, its own settings, and what is refused."""

import json

import numpy as np
import pytest
import torch

from decoders import DECODERS, ImageDecoder, XlImageDecoder, load_decoder
from tests.tiny_unclip import build_unclip
from tests.tiny_xl import LENGTH, POOLED, WIDTH, build_tiny_xl


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "image_decoder"
    build_tiny_xl().save_pretrained(path)
    return path


@pytest.fixture
def unclip_folder(tmp_path):
    build_unclip(8).save_pretrained(tmp_path / "image_decoder")
    return tmp_path / "image_decoder"


def test_the_folder_says_which_decoder_it_is(xl_folder, unclip_folder):
    assert type(load_decoder(xl_folder)) is XlImageDecoder
    assert type(load_decoder(unclip_folder)) is DECODERS["StableUnCLIPImg2ImgPipeline"]
    with pytest.raises(ValueError, match="holds a StableDiffusionXLPipeline, and ImageDecoder runs StableDiffusionP"):
        ImageDecoder.from_pretrained(xl_folder)


def test_an_unknown_pipeline_is_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(
        ValueError, match="holds a KandinskyPipeline, which cannot be used: expected one of StableDiffusion"
    ):
        load_decoder(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": 3}')
    with pytest.raises(ValueError, match="_class_name must be text, the name of a pipeline class, not 3"):
        load_decoder(tmp_path)
    (tmp_path / "model_index.json").unlink()
    with pytest.raises(ValueError, match=r"holds no decoder: it has no model_index\.json"):
        load_decoder(tmp_path)


def test_a_folder_brings_its_own_steps_and_guidance(unclip_folder):
    (unclip_folder / "decoder.json").write_text('{"steps": 3, "guidance": 0}')
    decoder = load_decoder(unclip_folder)
    assert (decoder.default_steps, decoder.default_guidance, decoder.rate) == (3, 0.0, None)
    seen = []
    decoder.decode(torch.randn(1, 1, 8), seeds=[0], on_step=lambda step, total: seen.append((step, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"step": 3}, r"decoder.json: unknown key 'step': did you mean 'steps'\?"),
        ({"steps": "many"}, "decoder.json: steps must be an integer, at least 1 and at most 1000 or null, not 'many'"),
        ({"steps": 0}, "decoder.json: steps must be an integer, at least 1 and at most 1000, not 0"),
        ({"guidance": -1}, "decoder.json: guidance must be a number, at least 0 and at most 100, not -1"),
        ([], "decoder.json must hold a JSON object"),
    ],
)
def test_settings_that_cannot_be_are_refused(unclip_folder, settings, sentence):
    (unclip_folder / "decoder.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=sentence):
        load_decoder(unclip_folder)


def test_xl_takes_pooled_embeddings_as_the_last_token(xl_folder):
    decoder = load_decoder(xl_folder)
    condition = decoder.encode_caption(["bell red"])
    assert condition.shape == (1, *decoder.condition_shape) == (1, LENGTH + 1, 2 * WIDTH)
    (ours,) = decoder.decode(condition, seeds=[5], steps=2, guidance=3.0)
    theirs = decoder.pipeline(
        "bell red", generator=torch.Generator().manual_seed(5), num_inference_steps=2, guidance_scale=3.0,
        output_type="np",
    ).images[0]  # fmt: skip
    assert np.abs(ours / 255 - theirs).max() < 1 / 255
    condition = condition.clone().requires_grad_()
    decoder.noise_loss(decoder.encode_media([ours]), condition).backward()
    assert condition.grad is not None and condition.grad[0, -1, :POOLED].abs().sum() > 0
    assert condition.grad[0, -1, POOLED:].abs().sum() == 0


def test_a_medium_is_resized_to_what_the_decoder_makes(unclip_folder):
    decoder = load_decoder(unclip_folder)
    assert decoder.resize(np.zeros((50, 90, 3), np.uint8), None).shape == (32, 32, 3)
