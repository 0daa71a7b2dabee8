"""ImageBind besides its numbers (those are in tests/parity): clips, tokens, other resolutions, bf16, settings."""

import json
from dataclasses import asdict

import pytest
import torch

from data.strict import read_settings
from encoders.imagebind import ImageBind, ImageBindConfig, TowerConfig


@pytest.fixture(scope="module")
def model() -> ImageBind:
    torch.manual_seed(0)
    config = ImageBindConfig(
        12,
        {
            "vision": TowerConfig(16, 2, 2, (3, 2, 32, 32), (2, 8, 8), (2, 8, 8)),
            "audio": TowerConfig(16, 1, 2, (1, 32, 40), (8, 8), (8, 8), logit_scale=20.0),
            "imu": TowerConfig(16, 1, 2, (6, 80), (8,), (8,), logit_scale=5.0),
            "text": TowerConfig(16, 1, 2, (9,), vocabulary=50, logit_scale=1 / 0.07),
        },
    )
    return ImageBind(config).eval()


@torch.no_grad()
def test_clips_are_averaged_after_scaling(model):
    clips = torch.randn(2, 3, 1, 32, 40)
    alone = torch.stack([model({"audio": clips[:, index]})["audio"] for index in range(3)])
    assert torch.allclose(alone.norm(dim=-1), torch.full((3, 2), 20.0), atol=1e-4)
    torch.testing.assert_close(model({"audio": clips})["audio"], alone.mean(0))


@torch.no_grad()
def test_return_tokens_averages_each_patch_over_the_clips(model):
    clips = torch.randn(2, 3, 1, 32, 40)
    tokens = model({"audio": clips}, return_tokens=True)["audio"]
    assert tokens.shape == (2, 4 * 5, 12)
    apart = model.patch_tokens("audio", clips)
    assert apart.shape == (2, 3 * 20, 12)
    torch.testing.assert_close(apart.norm(dim=-1), torch.ones(2, 60))
    torch.testing.assert_close(apart.unflatten(1, (3, 20)).mean(1), tokens)
    with pytest.raises(ValueError, match="text has no patches"):
        model({"text": torch.zeros(1, 9, dtype=torch.long)}, return_tokens=True)


@torch.no_grad()
def test_a_tall_picture_keeps_its_rows_and_columns(model):
    positions = model.modality_preprocessors["vision"].pos_embedding_helper
    for rows, columns in ((4, 4), (7, 3), (2, 9), (15, 11)):
        assert positions((1, rows, columns)).shape == (1, 1 + rows * columns, 16)
        assert model({"vision": torch.randn(1, 3, 8 * rows, 8 * columns)})["vision"].shape == (1, 12)
    doubled = positions((1, 8, 4))[0, 1:].unflatten(0, (8, 4))
    again = positions((1, 4, 8))[0, 1:].unflatten(0, (4, 8))
    assert not torch.allclose(doubled.transpose(0, 1), again)
    with pytest.raises(ValueError, match="pass clips one by one"):
        positions((2, 4, 4))


@torch.no_grad()
def test_lighter_weights_give_nearly_the_same_direction_and_the_same_scale(model):
    inputs = {"vision": torch.randn(2, 3, 32, 32), "imu": torch.randn(2, 6, 80), "text": torch.randint(0, 50, (2, 9))}
    exact = model(inputs)
    light = ImageBind(model.config).eval()
    light.load_state_dict(model.state_dict())
    light.hold_in(torch.bfloat16)
    assert light.modality_trunks["vision"].blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    for name, value in light(inputs).items():
        assert value.dtype == torch.float32
        assert torch.cosine_similarity(value, exact[name]).min() > 0.999
        torch.testing.assert_close(value.norm(dim=-1), exact[name].norm(dim=-1), rtol=1e-5, atol=0)


def test_the_released_model_has_its_published_size():
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig.huge())
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_200_781_057


def test_config_survives_json():
    config = ImageBindConfig.huge()
    assert read_settings(ImageBindConfig, json.loads(json.dumps(asdict(config))), "config") == config


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="smell"):
        ImageBindConfig(8, {"smell": TowerConfig(8, 1, 1, (1,))})
    with pytest.raises(ValueError, match="colour"):
        read_settings(ImageBindConfig, {"shared_width": 8, "towers": {"text": {"colour": 1}}}, "config")


def test_a_missing_tower_is_named(model):
    with pytest.raises(ValueError, match="touch"):
        model.tokens("touch", torch.zeros(1, 3))
