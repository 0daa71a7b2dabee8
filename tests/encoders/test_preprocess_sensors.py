"""Depth, heat and motion: what the towers were trained on, and refusals that say what to give."""

import numpy as np
import pytest
import torch

from encoders.preprocessing.sensors import (
    DepthSettings,
    ImuSettings,
    ThermalSettings,
    disparity,
    preprocess_depth,
    preprocess_imu,
    preprocess_thermal,
)


def test_disparity_of_a_kinect():
    settings = DepthSettings(baseline=0.075, focal_length=500.0)
    found = disparity(np.array([[0.0, 0.001, 2.0, 100.0]]), settings)
    assert found == pytest.approx(np.array([[0.0, 0.075 * 500 / 0.01, 0.075 * 500 / 2, 0.075 * 500 / 50]]), rel=1e-6)


def test_a_flat_wall_is_one_grey():
    settings = DepthSettings(size=16, baseline=0.095, focal_length=600.0)
    pixels = preprocess_depth(np.full((40, 30), 3.0), settings)
    assert pixels.shape == (1, 16, 16) and pixels.dtype == torch.float32
    assert pixels.numpy() == pytest.approx((0.095 * 600 / 3 / 75 - 0.0418) / 0.0295, rel=1e-4)
    nearest = preprocess_depth(np.full((20, 20), 0.02), settings)
    assert nearest.numpy() == pytest.approx((1 - 0.0418) / 0.0295, rel=1e-4)  # clamped at 75 pixels


def test_bad_depth_is_named():
    with pytest.raises(ValueError, match="uint16"):
        preprocess_depth(np.zeros((4, 4), np.uint16), DepthSettings())
    with pytest.raises(ValueError, match=r"\(4, 4, 1\)"):
        preprocess_depth(np.zeros((4, 4, 1)), DepthSettings())
    for bad in (np.nan, -1.0, np.inf):
        with pytest.raises(ValueError, match="negative or not finite"):
            preprocess_depth(np.full((4, 4), bad), DepthSettings())


@pytest.mark.parametrize("shape", [(50, 30), (30, 50, 1), (16, 90, 3)])
def test_thermal_pictures_of_any_shape(shape):
    rng = np.random.default_rng(0)
    pixels = preprocess_thermal(rng.integers(0, 256, shape, np.uint8), ThermalSettings(size=16))
    assert pixels.shape == (1, 16, 16)
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_thermal_values_are_kept():
    flat = np.full((20, 20), 51, np.uint8)
    assert preprocess_thermal(flat, ThermalSettings(size=16)).numpy() == pytest.approx(0.2)
    assert preprocess_thermal(flat / 255.0, ThermalSettings(size=16)).numpy() == pytest.approx(0.2)


def test_bad_thermal_pictures_are_named():
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        preprocess_thermal(np.full((4, 4), 300.0), ThermalSettings())
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        preprocess_thermal(np.full((4, 4), np.nan), ThermalSettings())
    with pytest.raises(ValueError, match="int64"):
        preprocess_thermal(np.zeros((4, 4), np.int64), ThermalSettings())


def test_motion_at_the_towers_own_rate_is_unchanged():
    readings = np.random.default_rng(0).normal(size=(2000, 6))
    assert preprocess_imu(readings, 400.0, ImuSettings()).numpy() == pytest.approx(readings.T, abs=1e-5)
    assert torch.equal(preprocess_imu(readings, 400.0, ImuSettings()), preprocess_imu(readings.T, 400.0, ImuSettings()))


def test_long_motion_gives_its_middle_and_short_motion_is_followed_by_zeros():
    time = np.arange(2000) / 100.0  # 20 s: the middle is 7.5 s to 12.5 s
    long = preprocess_imu(np.repeat(time[:, None], 6, axis=1), 100.0, ImuSettings())
    assert long[0, 0] == pytest.approx(7.5)
    assert long[0, -1] == pytest.approx(12.5 - 1 / 400, abs=1e-4)
    short = preprocess_imu(np.ones((100, 6)), 100.0, ImuSettings())  # 1 s
    assert (short[:, :390] == 1).all() and (short[:, 410:] == 0).all()


def test_bad_motion_is_named():
    with pytest.raises(ValueError, match=r"\(10, 3\)"):
        preprocess_imu(np.zeros((10, 3)), 400.0, ImuSettings())
    with pytest.raises(ValueError, match="rate of 0"):
        preprocess_imu(np.zeros((10, 6)), 0, ImuSettings())
    with pytest.raises(ValueError, match="not finite"):
        preprocess_imu(np.full((10, 6), np.inf), 400.0, ImuSettings())
