"""ImageBind equals the published model: names and shapes at full size, numbers at a tiny one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from encoders.imagebind import MODALITIES, ImageBind, ImageBindConfig, TowerConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "imagebind"
TOLERANCE = 2e-6


def _config() -> ImageBindConfig:
    """The configuration under which the golden tensors were made."""
    return ImageBindConfig(
        36,
        {
            "vision": TowerConfig(64, 3, 4, (3, 2, 224, 224), (2, 14, 14), (2, 14, 14)),
            "text": TowerConfig(32, 3, 4, (77,), vocabulary=49408, logit_scale=10.0),
            "audio": TowerConfig(60, 3, 3, (1, 128, 204), (16, 16), (10, 10), logit_scale=1.0),
            "depth": TowerConfig(40, 2, 4, (1, 224, 224), (16, 16), (16, 16), logit_scale=1.0),
            "thermal": TowerConfig(56, 2, 7, (1, 224, 224), (16, 16), (16, 16), logit_scale=1.0),
            "imu": TowerConfig(24, 2, 3, (6, 2000), (8,), (8,), logit_scale=1.0, drop_path=0.7, head_dropout=0.5),
        },
    )


@pytest.fixture(scope="module")
def model() -> ImageBind:
    weights = {name[8:]: value for name, value in load_file(GOLDEN / "model_weights.safetensors").items()}
    rows, ids = weights.pop("token_embedding.rows"), weights.pop("token_embedding.row_ids")
    model = ImageBind(_config()).eval()
    table = torch.zeros(49408, 32)
    table[ids] = rows
    weights["modality_preprocessors.text.token_embedding.weight"] = table
    weights["modality_preprocessors.text.mask"] = model.modality_preprocessors["text"].mask
    model.load_state_dict(weights, strict=True)
    return model


def _close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE):
    assert found.shape == expected.shape
    worst = (found.double() - expected.double()).abs().max() / expected.abs().max()
    assert worst <= tolerance, f"off by {worst:.2e} of the largest value"


@pytest.mark.parametrize("case", [*MODALITIES, "vision_252", "vision_video"])
def test_equals_the_published_model(model, case):
    golden = load_file(GOLDEN / f"model_{case}.safetensors")
    modality, x = case.split("_")[0], golden["inputs/x"]
    with torch.no_grad():
        _close(model({modality: x})[modality], golden["outputs/output"])
        flat = x.flatten(0, 1) if x.ndim >= 5 else x
        _close(model.tokens(modality, flat)[:1], golden["outputs/tokens_row0"])
        _close(model.features(modality, flat)[:1], golden["outputs/trunk_row0"], 2e-5)
        _close(model.project(modality, flat), golden["outputs/head"], 1e-5)


@pytest.mark.parametrize("modality", [name for name in MODALITIES if name != "text"])
def test_patch_tokens(model, modality):
    golden = load_file(GOLDEN / f"model_{modality}.safetensors")
    with torch.no_grad():
        tokens = model.patch_tokens(modality, golden["inputs/x"])
    expected = golden["outputs/nextgpt_tokens_row0"]
    _close(tokens[:1, : expected.shape[1]], expected, 2e-5)


def test_huge_has_the_published_names_and_shapes():
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig.huge())
    expected = json.loads((GOLDEN / "huge_keys.json").read_text())
    expected = expected.get("keys", expected)
    found = {name: [list(value.shape), str(value.dtype)] for name, value in model.state_dict().items()}
    assert found == expected
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_200_781_057


def test_config_survives_json():
    config = ImageBindConfig.huge()
    assert ImageBindConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="smell"):
        ImageBindConfig(8, {"smell": TowerConfig(8, 1, 1, (1,))})
    with pytest.raises(ValueError, match="colour"):
        ImageBindConfig.from_dict({"shared_width": 8, "towers": {"text": {"colour": 1}}})


def test_a_missing_tower_is_named(model):
    with pytest.raises(ValueError, match="touch"):
        model.tokens("touch", torch.zeros(1, 3))
