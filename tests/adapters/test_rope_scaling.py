"""Positions: factors as LongLoRA counts them, the frequencies that transformers makes of them, what is refused."""

import pytest
import torch
from transformers import AutoConfig, Gemma3TextConfig, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from adapters.long_context import context_length, scale_positions


def small(**changes):
    return LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=100, **changes)


def angles(config, length=150):
    return LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(length)[None])


@pytest.mark.parametrize(("length", "factor"), [(101, 2.0), (200, 2.0), (201, 3.0), (400, 4.0)])
def test_linear_interpolates_by_a_whole_factor(length, factor):
    config = small()
    scale_positions(config, length)
    assert config.rope_parameters == {"rope_type": "linear", "rope_theta": 10000.0, "factor": factor}
    assert context_length(config) == 100 * factor and config.max_position_embeddings == 100
    cosine, _ = angles(config)
    expected, _ = LlamaRotaryEmbedding(small())(torch.zeros(1), torch.arange(150)[None] / factor)
    torch.testing.assert_close(cosine, expected, rtol=1e-4, atol=1e-5)


def test_a_second_extension_multiplies_the_first():
    config = small()
    scale_positions(config, 200)
    scale_positions(config, 350)
    assert config.rope_parameters["factor"] == 4.0 and context_length(config) == 400


def test_yarn_writes_the_old_length_and_the_new():
    config = small()
    scale_positions(config, 390, "yarn")
    assert config.max_position_embeddings == context_length(config) == 400
    assert config.rope_parameters["original_max_position_embeddings"] == 100
    assert config.rope_parameters["factor"] == 4.0
    scale_positions(config, 800, "yarn")
    assert config.max_position_embeddings == 800
    assert config.rope_parameters["original_max_position_embeddings"] == 100
    config.validate_rope()


def test_dynamic_changes_nothing_before_the_old_length():
    config = small()
    scale_positions(config, 400, "dynamic")
    assert context_length(config) == 400
    torch.testing.assert_close(angles(config, 100), angles(small(), 100))
    assert not torch.allclose(angles(config)[0][:, 1], angles(small())[0][:, 1], atol=1e-4)


@pytest.mark.parametrize("scaling", ["linear", "yarn", "dynamic"])
def test_a_length_within_the_context_changes_nothing(scaling):
    config = small()
    scale_positions(config, 100, scaling)
    assert config.to_dict() == small().to_dict()


def test_only_layers_that_see_the_whole_row_are_scaled():
    config = Gemma3TextConfig(max_position_embeddings=100)
    scale_positions(config, 400)
    assert config.rope_parameters["full_attention"]["factor"] == 4.0
    assert config.rope_parameters["sliding_attention"]["rope_type"] == "default"


def test_what_was_scaled_is_read_back(tmp_path):
    for scaling in ("linear", "yarn", "dynamic"):
        config = small()
        scale_positions(config, 300, scaling)
        config.save_pretrained(tmp_path)
        assert AutoConfig.from_pretrained(tmp_path).rope_parameters == config.rope_parameters


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"unknown scaling 'ntk'.*expected one of linear, yarn, dynamic"):
        scale_positions(small(), 200, "ntk")
    config = small()
    scale_positions(config, 200)
    with pytest.raises(ValueError, match="scaled as 'linear' already and cannot become 'yarn'"):
        scale_positions(config, 400, "yarn")
    with pytest.raises(ValueError, match="'gpt2' model has no rope_parameters"):
        scale_positions(AutoConfig.for_model("gpt2"), 4096)
