"""Things in motion: deterministic, the boxes move as the caption says, animations are there only when fetched."""

import numpy as np
import pytest

from data import things
from data.things.animations import animated_things
from data.things.motion_rendering import FRAMES


@pytest.fixture(autouse=True)
def no_banks(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))


def track(motion, index=0):
    """Centres and sizes (F, 4) of the thing that makes a motion."""
    boxes = np.array(things.video_boxes(things.sample_video(3, index, motion)))[:, 0]
    return np.column_stack(
        [(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, boxes[:, 2:] - boxes[:, :2]]
    )


def test_a_video_depends_on_seed_and_index_alone():
    assert things.sample_video(5, 7) == things.sample_video(5, 7) != things.sample_video(6, 7)
    first, second = (things.render_video(things.sample_video(5, 7), 64) for _ in range(2))
    assert first.shape == (FRAMES, 64, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, second)


WAYS = [("right", 0, 1), ("left", 0, -1), ("down", 1, 1), ("up", 1, -1), ("grow", 2, 1), ("shrink", 2, -1)]


@pytest.mark.parametrize(("motion", "column", "sign"), WAYS)
def test_what_moves_one_way_moves_that_way_only(motion, column, sign):
    for index in range(3):
        steps = sign * np.diff(track(motion, index)[:, column])
        assert steps.sum() > 0.15 and steps.min() > -0.02


def test_what_moves_round_comes_back():
    circle, shake, bounce = track("circle"), track("shake"), track("bounce")
    assert np.ptp(circle[:, 0]) > 0.3 and np.ptp(circle[:, 1]) > 0.3
    assert np.abs(circle[0, :2] - circle[-1, :2]).max() < 0.05
    assert 0.01 < np.ptp(shake[:, 0]) < 0.2
    assert (np.diff(np.sign(np.diff(bounce[:, 1]))) != 0).sum() >= 4  # up and down three times
    assert track("flip")[:, 2].min() < 0.4 * track("flip")[:, 2].max()


def test_what_stays_does_not_change_and_what_appears_does():
    still = things.render_video(things.sample_video(3, 0, "stay"), 64)
    assert np.array_equal(still[0], still[-1])
    scene = things.sample_video(3, 0, "appear")
    frames = things.render_video(scene, 64).astype(float)
    mask = things.video_mask(scene, 0, 64)
    assert np.array_equal(mask, things.video_mask(scene, 15, 64))
    change = (
        np.abs(frames - frames[0]).mean(axis=(1, 3 - 1, 3))
        if frames.ndim == 3
        else np.abs(frames - frames[0]).mean((1, 2, 3))
    )
    assert change[-1] > 2 and np.all(np.diff(change) > -0.1)


def test_boxes_hold_what_is_drawn():
    for index in range(6):
        scene = things.sample_video(8, index)
        for frame, boxes in enumerate(things.video_boxes(scene, 64)):
            outside = things.video_mask(scene, frame, 64).copy()
            for left, top, right, bottom in boxes:
                assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
                outside[round(top * 64) : round(bottom * 64), round(left * 64) : round(right * 64)] = 0
            assert outside.max() < 0.2


def test_captions():
    car, cat = things.Placed("car", "red", 0.5, 0.5, 0.4), things.Placed("cat", None, 0.7, 0.5, 0.4)
    one = things.VideoScene((things.Moving(car, "right"),), "desert", 0)
    assert things.video_caption(one) == "a red car that moves to the right, in the desert"
    two = things.VideoScene((things.Moving(car, "spin"), things.Moving(cat, "animated")), "", 0)
    assert things.video_caption(two) == "a red car on the left that spins and an animated cat on the right"
    assert all(set(words) == {"en", "zh"} for words in things.MOTIONS.values())


def test_two_things_stay_on_their_sides_and_unfetched_animations_are_not_drawn():
    scenes = [things.sample_video(1, index) for index in range(80)]
    assert animated_things() == []
    with pytest.raises(things.BankMissing, match="fetch animations"):
        things.sample_video(1, 0, "animated")
    with pytest.raises(ValueError, match="unknown motion 'fly': expected one of animated, right, left"):
        things.sample_video(1, 0, "fly")
    assert not any(moving.motion == "animated" for scene in scenes for moving in scene.moving)
    pairs = [scene for scene in scenes if len(scene.moving) == 2]
    assert pairs
    for scene in pairs[:4]:
        assert all(left[0] + left[2] < right[0] + right[2] for left, right in things.video_boxes(scene, 64))
