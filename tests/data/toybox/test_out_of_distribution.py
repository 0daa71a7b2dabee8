"""Media from outside the world: the same forms as the world's own, deterministic, and of many kinds."""

import numpy as np
import pytest

from data.toybox.out_of_distribution.images import KINDS as IMAGES
from data.toybox.rendering import KINDS, make, out_of_distribution_kind, out_of_distribution_medium

FORMS = {
    "image": ((128, 128, 3), np.uint8),
    "video": ((8, 128, 128, 3), np.uint8),
    "audio": ((32_000,), np.float32),
    "points": ((256, 3), np.float32),
}
ALL_KINDS = [(modality, kind) for modality, kinds in KINDS.items() for kind in kinds]


@pytest.mark.parametrize(("modality", "kind"), ALL_KINDS)
def test_form_of_every_kind(modality, kind):
    shape, dtype = FORMS[modality]
    for seed in range(12):
        medium = make(modality, kind, np.random.default_rng(seed))
        assert medium.shape == shape
        assert medium.dtype == dtype
        if dtype == np.float32:
            assert np.isfinite(medium).all()
            assert np.abs(medium).max() <= 1 + 1e-5


@pytest.mark.parametrize("modality", FORMS)
def test_a_stream_is_deterministic_and_varied(modality):
    first = [out_of_distribution_medium(modality, 1, index) for index in range(8)]
    again = [out_of_distribution_medium(modality, 1, index) for index in range(8)]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    other_seed = [out_of_distribution_medium(modality, 2, index) for index in range(8)]
    assert sum(np.array_equal(one, other) for one, other in zip(first, other_seed, strict=True)) <= 1
    seen = {out_of_distribution_kind(modality, 1, index) for index in range(300)}
    assert seen == set(KINDS[modality])


@pytest.mark.parametrize("modality", FORMS)
def test_shares_add_up(modality):
    assert sum(share for _, share in KINDS[modality].values()) == pytest.approx(1)


def test_clouds_are_centred_and_of_unit_size():
    for index in range(60):
        points = out_of_distribution_medium("points", 3, index)
        assert np.abs(points.mean(0)).max() < 1e-4
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-4)


def test_a_voice_has_pauses_and_a_moving_pitch():
    """The loudness spans a wide range, loud stretches are periodic as voices are, and the period wanders."""
    ranges, strengths, spreads = [], [], []
    for seed in range(12):
        frames = make_voice(seed).reshape(-1, 640)  # 40 ms each
        loudness = np.sqrt((frames**2).mean(1))
        ranges.append(np.percentile(loudness, 95) / (np.percentile(loudness, 5) + 1e-6))
        loud = frames[np.argsort(loudness)[-15:]]
        correlation = np.fft.irfft(np.abs(np.fft.rfft(loud, 2048)) ** 2)[:, :200]
        lags = 40 + np.argmax(correlation[:, 40:], axis=1)
        strengths.append(np.median(correlation[np.arange(len(lags)), lags] / correlation[:, 0]))
        spreads.append(lags.std() / lags.mean())
    assert np.median(ranges) > 8
    assert np.median(strengths) > 0.5
    assert np.median(spreads) > 0.03


def make_voice(seed: int) -> np.ndarray:
    return KINDS["audio"]["voice"][0](np.random.default_rng(seed))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="smell"):
        out_of_distribution_medium("smell", 0, 0)
    with pytest.raises(ValueError, match="unicorn"):
        make("image", "unicorn", np.random.default_rng(0))


@pytest.mark.parametrize("kind", IMAGES)
def test_every_draw_of_a_picture_is_a_picture(kind):
    """Pillow refuses some rectangles with round corners, which one draw in eighty of the screens had at this size."""
    draw, _ = IMAGES[kind]
    for seed in range(300 if kind == "screen" else 20):
        assert draw(np.random.default_rng((7, seed)), 32).shape == (32, 32, 3)
