"""A core knows its language model by a few weights: in any precision the same one, and no other."""

import pytest
import torch
from safetensors.torch import save_file

from nextgpt_lite.language_model_identity import SAMPLES, check_language_model_identity, sample_weights
from nextgpt_lite.weight_files import CheckpointError


@pytest.fixture
def weights():
    torch.manual_seed(0)
    layers = [f"model.layers.{n}.{part}.weight" for n in range(12) for part in ("q_proj", "k_proj", "mlp.up_proj")]
    matrices = {name: 0.02 * torch.randn(24, 16) for name in layers}
    return {**matrices, "model.embed_tokens.weight": torch.randn(30, 16), "model.layers.0.norm.weight": torch.ones(16)}


def write(folder, weights, parts=1):
    folder.mkdir()
    names = list(weights)
    for part in range(parts):
        save_file({name: weights[name] for name in names[part::parts]}, folder / f"model-{part}.safetensors")
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("parts", [1, 3])
def test_it_is_the_same_in_any_precision_and_in_any_number_of_files(weights, dtype, parts, tmp_path):
    sample = sample_weights(write(tmp_path / "a", weights))
    assert len(sample) == SAMPLES and not any("embed" in name or "norm" in name for name in sample)
    other = {name: value.to(dtype) for name, value in weights.items()}
    other["lm_head.weight"] = other["model.embed_tokens.weight"].clone()  # no longer tied, and with one row more
    other["model.embed_tokens.weight"] = torch.zeros(31, 16, dtype=dtype)
    check_language_model_identity(sample, write(tmp_path / "b", other, parts))
    check_language_model_identity(sample_weights(tmp_path / "b"), tmp_path / "a")


@pytest.mark.parametrize("change", ["tuned", "others", "shorter", "integers"])
def test_another_one_is_refused_by_name(weights, change, tmp_path):
    sample = sample_weights(write(tmp_path / "a", weights))
    other = {
        "tuned": {name: value + 1e-3 * torch.randn_like(value) for name, value in weights.items()},
        "others": {name: torch.randn_like(value) for name, value in weights.items()},
        "shorter": {name: value for name, value in weights.items() if ".11." not in name},
        "integers": {name: value.round().to(torch.int8) for name, value in weights.items()},
    }[change]
    expected = r"another language model than the one in .*: model\.layers\.\d+\..* is (missing|[-\d.e]+) there"
    with pytest.raises(CheckpointError, match=expected):
        check_language_model_identity(sample, write(tmp_path / "b", other))


def test_a_folder_without_safetensors_has_no_sample(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/model.safetensors").write_bytes(b"none")
    assert sample_weights(tmp_path / "a") == {}
    check_language_model_identity({}, tmp_path / "a")
    with pytest.raises(CheckpointError, match="there is no language model at"):
        check_language_model_identity({}, tmp_path / "none")
