"""The EfficientNet-Lite trunk: shapes, padding, freezing; the real weights where they have been fetched."""

import numpy as np
import pytest
import torch

from encoders.efficientnet import EfficientNetLite, Stage

STAGES = (
    Stage(1, 3, 1, 1, 4),
    Stage(2, 3, 2, 2, 6),
    Stage(1, 5, 2, 2, 8),
    Stage(2, 3, 2, 2, 10),
    Stage(1, 5, 2, 2, 12),
)


@pytest.fixture
def trunk() -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite(STAGES, stem=4, head=16, classes=5, size=64)


def test_feature_maps_at_four_strides(trunk):
    maps = trunk.features(torch.rand(2, 3, 64, 96))
    shapes = {stride: tuple(value.shape) for stride, value in maps.items()}
    assert shapes == {4: (2, 6, 16, 24), 8: (2, 8, 8, 12), 16: (2, 10, 4, 6), 32: (2, 16, 2, 3)}
    assert trunk.widths == {4: 6, 8: 8, 16: 10, 32: 16}


def test_logits_come_from_the_pooled_last_map(trunk):
    pixels = torch.rand(2, 3, 64, 64)
    pooled = trunk.features(pixels)[32].mean((2, 3))
    torch.testing.assert_close(trunk.classify(pooled), trunk(pixels))
    assert trunk(pixels).shape == (2, 5)


def test_sizes_of_the_published_network():
    trunk = EfficientNetLite()
    assert trunk.widths == {4: 24, 8: 40, 16: 112, 32: 1280}
    assert sum(value.numel() for value in trunk.parameters()) == 4_652_008
    state = trunk.state_dict()
    assert state["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert state["_fc.weight"].shape == (1000, 1280)


def test_odd_pixel_of_the_padding_goes_to_the_right_and_to_the_bottom(trunk):
    trunk._conv_stem.weight.fill_(1.0)
    counted = trunk._conv_stem(torch.ones(1, 3, 4, 4))[0, 0]  # 3 channels times the pixels under the kernel
    assert counted.tolist() == [[27.0, 18.0], [18.0, 12.0]]


def test_trunk_is_frozen_and_in_evaluation_mode(trunk):
    assert not trunk.training
    assert not any(value.requires_grad for value in trunk.parameters())


def test_gradients_reach_the_pixels(trunk):
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    trunk.features(pixels)[16].sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_preprocess_scales_to_about_one(trunk):
    image = np.zeros((50, 80, 3), np.uint8)
    image[:, :, 1] = 255
    pixels = trunk.preprocess(image)
    assert pixels.shape == (3, 64, 64)
    assert pixels[0].unique().item() == pytest.approx(-127 / 128)
    assert pixels[1].unique().item() == pytest.approx(1.0)


def test_folded_trunk_gives_the_same_maps(trunk):
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 2)
            module.bias.normal_()
    pixels = torch.rand(2, 3, 64, 64)
    expected = trunk.features(pixels)
    folded = trunk.fold()
    assert not any("running" in name for name in folded.state_dict())
    for stride, value in folded.features(pixels).items():
        torch.testing.assert_close(value, expected[stride], rtol=1e-4, atol=1e-4)
