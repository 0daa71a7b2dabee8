"""Several media as one: in a conversation, and as a picture."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from adapters import mix
from decoders.image import UnclipDecoder
from nextgpt_lite.inspection.mixtures import draw, mixture
from tests.tiny_model import medium
from tests.tiny_unclip import build_unclip

TEXT = {"type": "text", "text": "snow"}


@torch.no_grad()
def test_a_mixture_of_one_medium_is_that_medium(tiny_model):
    part = medium("image")
    torch.testing.assert_close(mixture(tiny_model, [part])["embedding"], tiny_model.embed(part))


@torch.no_grad()
def test_the_cache_sees_the_mixture(tiny_model):
    parts = [medium("image"), medium("audio", 1), TEXT]
    encoder = tiny_model.encoder
    units = [encoder.embed(p["type"], encoder.preprocess(p["type"], p["array"], p["rate"])[None]) for p in parts[:2]]
    expected = tiny_model.cache(mix([*units, encoder.embed_text(["snow"])], [0.5, 1.0, -0.2]))[0]
    found = mixture(tiny_model, parts, [0.5, 1.0, -0.2])
    assert found["type"] == "image"
    torch.testing.assert_close(found["embedding"], expected)
    assert torch.equal(tiny_model.embed(found), found["embedding"])


def test_a_mixture_can_be_talked_about(tiny_model):
    part = mixture(tiny_model, [medium("image"), medium("points", 2)])
    reply = tiny_model.chat(
        [{"role": "user", "content": [part, {"type": "text", "text": "what is this?"}]}], max_new_tokens=2
    )
    assert isinstance(reply.text, str)


def test_a_mixture_begins_with_a_medium(tiny_model):
    with pytest.raises(ValueError, match="begins with a medium"):
        mixture(tiny_model, [TEXT, medium("image")])


@pytest.fixture(scope="module")
def decoder(tiny_model):
    return UnclipDecoder(build_unclip(tiny_model.encoder.width))


@torch.no_grad()
def test_pictures_are_drawn_from_projections_with_their_length(tiny_model, decoder):
    encoder, cache = tiny_model.encoder, tiny_model.cache
    part = medium("audio")
    sound = encoder.project("audio", encoder.preprocess("audio", part["array"], part["rate"])[None])
    drawn = draw(encoder, decoder, [part], seeds=[1, 2], steps=2)
    expected = decoder.decode(sound[:, None].expand(2, -1, -1), seeds=[1, 2], steps=2)
    assert np.abs(np.stack(drawn).astype(int) - np.stack(expected)).max() <= 1
    (drawn,) = draw(encoder, decoder, [part, TEXT], [3.0, 1.0], cache=cache, steps=2)
    both = (3 * sound + encoder.project_text(["snow"])) / 4
    condition = cache(functional.normalize(both, dim=-1)) * both.norm(dim=-1, keepdim=True)
    (expected,) = decoder.decode(condition[:, None], seeds=[0], steps=2)
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_a_decoder_of_another_width_is_refused(tiny_model):
    with pytest.raises(ValueError, match="24 wide, the unCLIP decoder takes 25"):
        draw(tiny_model.encoder, UnclipDecoder(build_unclip(25)), [TEXT])
