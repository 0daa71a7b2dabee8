"""Scenes of things: deterministic, as their captions say, with boxes that hold what is drawn."""

import numpy as np
import pytest

from data import things
from data.things.captions import BACKGROUNDS, any_name
from data.things.scenes import PLACES, POSITIONS, held_out_pair
from data.things.words import counted, plural, with_article


def test_a_scene_depends_on_seed_and_index_alone():
    assert things.sample(5, 7) == things.sample(5, 7)
    assert things.sample(5, 7) != things.sample(6, 7)
    first, second = (things.render_image(things.sample(5, 7)) for _ in range(2))
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_training_never_sees_what_is_held_out():
    shown = [placed for index in range(150) for placed in things.sample(1, index).placed]
    assert not {placed.thing for placed in shown} & set(things.held_out_things())
    assert not any(placed.colour and held_out_pair(placed.thing, placed.colour) for placed in shown)
    held_out = [things.sample(1, index, things="held_out").placed[0].thing for index in range(50)]
    assert set(held_out) <= set(things.held_out_things())
    new = [things.sample(1, index, pairs="held_out").placed[0] for index in range(50)]
    assert all(held_out_pair(placed.thing, placed.colour) for placed in new if placed.colour)


@pytest.mark.parametrize("layout", ["one", "several", "beside", "above", "three"])
def test_boxes_hold_what_is_drawn_and_stand_as_the_caption_says(layout):
    for index in range(8):
        scene = things.sample(2, index, layout)
        boxes, mask = things.boxes(scene), things.thing_mask(scene)
        assert len(boxes) == scene.count == len(scene.placed)
        outside = mask.copy()
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            outside[round(top * 128) : round(bottom * 128), round(left * 128) : round(right * 128)] = 0
        assert outside.max() < 0.2
        middles = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
        if layout in ("beside", "three"):
            assert middles == sorted(middles)
        if layout == "above":
            assert middles[0][1] < 0.5 < middles[1][1]
        if layout == "one" and scene.position:
            wanted = POSITIONS[scene.position]
            assert all(abs(found - place) < 0.2 for found, place in zip(middles[0], wanted, strict=True))


def test_things_of_a_scene_hardly_cover_each_other():
    for index in range(30):
        scene = things.sample(3, index)
        apart = sum(things.thing_mask(scene.with_(placed=(placed,))).sum() for placed in scene.placed)
        assert things.thing_mask(scene).sum() > 0.85 * apart


@pytest.mark.parametrize("colour", list(things.COLOURS))
def test_a_coloured_thing_has_mostly_that_colour(colour):
    near = 0
    for name in ("cat", "car", "balloon", "guitar", "mushroom", "envelope"):
        pixels = np.asarray(things.sprite(name, colour), dtype=np.float32)
        inside = pixels[pixels[..., 3] > 200][:, :3]
        distance = np.abs(inside[:, None] - np.array(list(things.COLOURS.values()))).sum(-1)
        near += list(things.COLOURS)[int(np.bincount(distance.argmin(1), minlength=11).argmax())] == colour
    assert near >= 5


def test_captions():
    cat, dog = things.Placed("cat", "red", 0.25, 0.5, 0.4), things.Placed("dog", None, 0.75, 0.5, 0.4)
    one = things.Scene((cat,), "one", "small", "top left", "meadow", 0)
    assert things.caption(one) == "a small red cat at the top left, in a meadow"
    assert things.caption(one.with_(placed=(cat,) * 3, layout="several", background="")) == "three red cats"
    two = things.Scene((cat, dog), "beside", "", "", "", 0)
    assert things.caption(two) == "a red cat on the left and a dog on the right"
    assert {things.caption(one, any_name(np.random.default_rng(index))) for index in range(20)} >= {
        "a small red cat at the top left, in a meadow",
        "a small red kitty at the top left, in a meadow",
    }
    assert BACKGROUNDS.keys() == PLACES.keys()


def test_names_are_unique_and_english_words_are_inflected():
    entries = things.catalogue().values()
    assert len(entries) >= 490 and 20 <= len(things.held_out_things()) <= 30
    for language in ("en", "zh"):
        names = [name.lower() for thing in entries for name in thing.names[language]]
        assert len(set(names)) == len(names)
    assert [with_article(noun) for noun in ("unicorn", "hourglass", "UFO", "SUV", "owl", "some corn")] == [
        *("a unicorn", "an hourglass", "a UFO", "an SUV", "an owl", "some corn")
    ]
    assert [plural(noun) for noun in ("pair of glasses", "snowman", "box", "puppy", "toy", "tropical fish")] == [
        *("pairs of glasses", "snowmen", "boxes", "puppies", "toys", "tropical fish")
    ]
    assert counted("stack of books", 3) == "three stacks of books"
