"""Sums of media, and the pictures of what lies near them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from adapters.visual_cache import VisualCache
from data.toybox import render, sample
from nextgpt_lite.inspection.examples import names, pictures, toybox_source
from nextgpt_lite.inspection.mixtures import add, mixture
from tests.tiny_model import medium

PARTS = [medium("image"), medium("audio", 1), medium("image", 2)]


@torch.no_grad()
def test_a_sum_points_where_its_summands_point(tiny_model):
    found = add(tiny_model, PARTS, [1.0, 0.5, -0.4])
    units = torch.stack([tiny_model.encode(part) for part in PARTS])
    expected = functional.normalize(units[0] + 0.5 * units[1] - 0.4 * units[2], dim=0)
    torch.testing.assert_close(found.embedding, expected)
    torch.testing.assert_close(torch.tensor(found.likeness), units @ expected)
    best = (tiny_model.cache.prototypes @ expected).topk(4).indices.tolist()
    assert [near.index for near in found.neighbours] == best
    torch.testing.assert_close(found.part["embedding"], mixture(tiny_model, PARTS, [1.0, 0.5, -0.4])["embedding"])


def test_the_first_positive_medium_gives_the_placeholder(tiny_model):
    assert add(tiny_model, PARTS[:2], [-0.5, 1.0]).part["type"] == "audio"
    assert add(tiny_model, PARTS[:2], [0.0, 1.0]).part["type"] == "audio"


def test_a_sum_can_be_asked_for_as_a_medium(tiny_model):
    found = add(tiny_model, PARTS[:1], [1.0])
    assert tiny_model.chat(found.messages("video"), max_new_tokens=2).text is not None
    with pytest.raises(ValueError, match="points"):
        found.messages("points")


@pytest.mark.parametrize("weights", [[1.0, -1.0], [-1.0, 0.5], [0.0, 0.0]])
def test_weights_must_have_a_positive_sum(tiny_model, weights):
    with pytest.raises(ValueError, match=r"positive sum|begins with a medium"):
        add(tiny_model, PARTS[:2], weights)


def test_each_medium_has_one_weight(tiny_model):
    with pytest.raises(ValueError, match="1 weights for 2 media"):
        add(tiny_model, PARTS[:2], [1.0])


def test_prototypes_are_rendered_again_where_the_cache_says_of_what(tmp_path):
    VisualCache(torch.eye(4), neighbours=2, source=toybox_source(41)).save(tmp_path, "encoder")
    cache = VisualCache.load(tmp_path, "encoder")
    shown = pictures(cache, [3, 0], size=32)
    assert shown is not None
    np.testing.assert_array_equal(shown[0], render(sample(41, 3), "image", 32))
    scene = sample(41, 0)
    assert scene.thing in names(cache, [0])[0] or scene.thing == "rain"
    assert scene.colour in names(cache, [0])[0] and names(cache, [0], "zh") != names(cache, [0])


def test_a_cache_that_does_not_say_has_no_pictures():
    cache = VisualCache(torch.eye(4), neighbours=2)
    assert pictures(cache, [0]) is None and names(cache, [0, 3]) == ["#0", "#3"]
