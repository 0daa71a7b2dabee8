"""The critic says how well pictures and films show what words name."""

import numpy as np
import pytest
import torch

from data.toybox import THINGS, attribute_words, render, sample
from decoders.image_critic import ImageCritic
from nextgpt_lite import AnyToAny

THING = {"thing": ("bell", "dog"), "colour": ("blue", "red")}


def critic(**settings):
    torch.manual_seed(0)
    return ImageCritic(THING, 16, (4, 8, 8, 8), **settings).eval()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("Here is a red bell.", {"thing": 0, "colour": 1}),
        ("画好了：一只蓝色的狗。", {"thing": 1, "colour": 0}),
        ("Two RED dogs at night", {"thing": 1, "colour": 1}),
        ("a red bell and a blue bell", {"thing": 0}),
        ("a bluebell", {}),
        ("", {}),
    ],
)
def test_words_name_values_in_both_languages(words, named):
    assert critic(names=attribute_words()).named(words) == named


def test_values_without_names_go_by_their_own():
    assert critic().named("a red bell") == {"thing": 0, "colour": 1}
    assert critic().named("红色的铃铛") == {}


def test_what_is_named_is_what_is_asked_of_a_medium():
    net = critic()
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8))
    bells, red = net.fit(pictures, "a bell"), net.fit(pictures, "something red")
    torch.testing.assert_close(net.fit(pictures, "a red bell"), bells + red)
    torch.testing.assert_close(bells.exp() + net.fit(pictures, "a dog").exp(), torch.ones(3))
    assert not net.fit(pictures, "what is this?").any()
    film = np.stack(pictures)
    torch.testing.assert_close(net.fit([film], "a bell"), bells.mean()[None])


def test_it_comes_back_with_its_names(tmp_path):
    net = critic(names=attribute_words())
    net.save_pretrained(tmp_path)
    again = ImageCritic.from_pretrained(tmp_path)
    assert again.names == net.names and not any(weight.requires_grad for weight in again.parameters())
    pixels = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(again.scores(pixels)["thing"], net.scores(pixels)["thing"], atol=2e-3, rtol=1e-2)


def test_the_shipped_one_knows_every_thing_from_the_others():
    """On pictures of another stream than it was trained on."""
    shipped = AnyToAny.from_pretrained("nano").critic
    scenes = [sample(77, index) for index in range(96)]
    pictures = [render(scene, "image") for scene in scenes]
    fits = torch.stack([shipped.fit(pictures, f"a {thing}") for thing in THINGS])
    right = [THINGS[best] == scene.thing for best, scene in zip(fits.argmax(dim=0).tolist(), scenes, strict=True)]
    assert {scene.thing for scene in scenes} == set(THINGS)
    assert np.mean(right) >= 0.95
