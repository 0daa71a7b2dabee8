"""The pictures and films of Toybox show what their scenes say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from data.toybox import render
from data.toybox.drawing.render import COLOUR_VALUES, render_image, render_video
from data.toybox.gallery import contact_sheet
from data.toybox.world import BACKGROUNDS, COLOURS, MOTIONS, PLACES, SIZES, THINGS, sample

SIZE = 128


def scene_of(index=0, **named):
    return sample(5, index, "all").with_(**({"count": 1, "place": "centre", "size": "medium"} | named))


def body_mask(scene, render=render_image):
    """Pixels that change with the scene's colour, and with nothing else: the bodies of its things."""
    other = "blue" if scene.colour != "blue" else "red"
    change = np.abs(render(scene).astype(int) - render(replace(scene, colour=other)).astype(int)).sum(axis=-1)
    return change > 40


def silhouette(scene):
    """All pixels of the thing in a picture: what differs from the background behind it."""
    elsewhere = [render_image(scene.with_(size="small", place=place)) for place in PLACES]
    background = np.median(elsewhere, axis=0)
    return np.abs(render_image(scene) - background).sum(axis=-1) > 40


def centre(mask):
    """Centre (x, y) of the mask's bounding box, in pixels from the middle of the frame."""
    rows, columns = np.nonzero(mask)
    return (columns.min() + columns.max() + 1 - SIZE) / 2, (rows.min() + rows.max() + 1 - SIZE) / 2


def extent(mask):
    rows, columns = np.nonzero(mask)
    return max(np.ptp(rows), np.ptp(columns)) + 1


def runs(columns, bridge=4):
    """How many stretches of occupied columns there are, with gaps up to ``bridge`` closed."""
    occupied = np.flatnonzero(columns)
    return 1 + int((np.diff(occupied) > bridge + 1).sum())


@pytest.mark.parametrize("size", [32, 64, 128])
def test_shape_and_type(size):
    image, film = render_image(scene_of(), size), render_video(scene_of(), frames=5, size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert film.shape == (5, size, size, 3)
    assert film.dtype == np.uint8


def test_same_scene_same_pixels_other_jitter_other_pixels():
    for index in range(20):
        scene = sample(1, index)
        assert np.array_equal(render_image(scene), render_image(scene))
        assert np.array_equal(render_video(scene), render_video(scene))
        assert not np.array_equal(render_image(scene), render_image(scene.with_(jitter=scene.jitter + 1)))


@pytest.mark.parametrize("thing", THINGS)
def test_colour_is_unmistakable(thing):
    values = np.array([COLOUR_VALUES[colour] for colour in COLOURS])
    for index, colour in enumerate(COLOURS):
        scene = scene_of(index, thing=thing, colour=colour, size="large")
        pixels = render_image(scene)[body_mask(scene)].astype(int)  # (N, 3)
        nearest = np.abs(pixels[:, None] - values).sum(axis=-1).argmin(axis=1)
        share = np.bincount(nearest, minlength=len(COLOURS)) / len(pixels)
        assert share.argmax() == COLOURS.index(colour)
        assert share.max() > 0.5


@pytest.mark.parametrize("thing", THINGS)
def test_sizes_are_separable(thing):
    extents = {size: [extent(body_mask(scene_of(i, thing=thing, size=size))) for i in range(8)] for size in SIZES}
    assert max(extents["small"]) < min(extents["medium"])
    assert max(extents["medium"]) < min(extents["large"])


@pytest.mark.parametrize("size", SIZES)
def test_place_is_where_it_says(size):
    step = {"small": 36, "medium": 27, "large": 17}[size]
    for index in range(27):
        row, column = divmod(index % 9, 3)
        x, y = centre(silhouette(scene_of(index, size=size, place=PLACES[index % 9])))
        assert (round(x / step), round(y / step)) == (column - 1, row - 1)


@pytest.mark.parametrize("thing", THINGS)
def test_counts_can_be_counted(thing):
    for count in (1, 2, 3):
        scene = scene_of(count, thing=thing, count=count)
        assert runs(body_mask(scene).any(axis=0)) == count


def test_things_stay_in_the_frame():
    for index in range(60):
        scene = sample(2, index, "all")
        masks = [body_mask(scene), *body_mask(scene, render_video)]
        assert all(not edge.any() for mask in masks for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def path(motion, index):
    """Centres (frames, 2) and extents (frames,) of the thing in a clip."""
    masks = body_mask(scene_of(index, motion=motion), render_video)
    return np.array([centre(mask) for mask in masks]), np.array([extent(mask) for mask in masks])


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize(
    ("motion", "direction"), [("left", (-1, 0)), ("right", (1, 0)), ("up", (0, -1)), ("down", (0, 1))]
)
def test_straight_motions(motion, direction, index):
    centres, _ = path(motion, index)
    along, across = centres @ direction, centres @ direction[::-1]
    assert (np.diff(along) > 3).all()
    assert np.ptp(along) > 50
    assert np.ptp(across) < 3


@pytest.mark.parametrize("index", range(6))
def test_other_motions(index):
    _, extents = path("grow", index)
    assert (np.diff(extents) > 0).all()
    assert 2.5 < extents[-1] / extents[0] < 3.5
    centres, _ = path("bounce", index)
    heights = centres[0, 1] - centres[:, 1]
    assert heights[-1] == pytest.approx(0, abs=1)
    assert heights[2] > 40
    assert heights[5] > 40
    assert heights[3] < 30
    spins = body_mask(scene_of(index, motion="spin"), render_video)
    assert np.linalg.norm([centre(mask) for mask in spins], axis=1).max() < 12
    assert all((before ^ after).sum() > 60 for before, after in pairwise(spins))


def test_spin_turns_300_degrees_one_way_or_the_other():
    ends = set()
    for index in range(12):
        masks = body_mask(scene_of(index, motion="spin", thing="boat"), render_video)
        # The white sail makes a boat lopsided: the body's centre of mass circles the frame's middle.
        rows_columns = np.array([np.argwhere(mask).mean(axis=0) for mask in masks]) - (SIZE - 1) / 2
        turned = np.unwrap(np.arctan2(rows_columns[:, 0], rows_columns[:, 1]))
        ends.add(round(np.rad2deg(turned[-1] - turned[0]) / 30) * 30)
    assert ends == {-300, 300}


def test_background_stands_still_and_differs():
    for motion in MOTIONS:
        film = render_video(scene_of(motion=motion))
        assert np.array_equal(film[0, 0, :8], film[-1, 0, :8])
    skies = [render_image(scene_of(background=name))[:, :20].reshape(-1, 3).mean(axis=0) for name in BACKGROUNDS]
    distances = [np.abs(a - b).sum() for i, a in enumerate(skies) for b in skies[:i]]
    assert min(distances) > 12


def test_things_differ_from_each_other():
    outlines = np.stack([body_mask(scene_of(thing=thing, size="large")) for thing in THINGS])
    overlap = [(a & b).sum() / (a | b).sum() for i, a in enumerate(outlines) for b in outlines[:i]]
    assert max(overlap) < 0.85


def test_film_needs_two_frames():
    with pytest.raises(ValueError, match="frames is 1"):
        render_video(scene_of(), frames=1)


def test_contact_sheet():
    page = contact_sheet([[render_image(scene_of(), 32)] * 2, [render_video(scene_of(), size=32)]])
    assert page.shape == (8 * 34 + 2, 2 * 34 + 2, 3)
    assert page.dtype == np.uint8
    with pytest.raises(ValueError, match="expected exactly one"):
        contact_sheet([[render_image(scene_of(), 32), render_image(scene_of(), 64)]])


@pytest.mark.parametrize(
    ("modality", "shape"),
    [("image", (128, 128, 3)), ("video", (8, 128, 128, 3)), ("audio", (32_000,)), ("points", (256, 3))],
)
def test_render_covers_every_modality(modality, shape):
    scene = scene_of()
    assert render(scene, modality).shape == shape
    assert np.array_equal(render(scene, modality), render(scene, modality))


def test_render_names_what_it_can_render():
    with pytest.raises(ValueError, match="unknown modality 'smell': expected one of image, video, audio, points"):
        render(scene_of(), "smell")
