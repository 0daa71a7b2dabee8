"""QLoRA: its settings, and what is said where bitsandbytes is missing."""

import importlib.util

import pytest
import torch
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import new_core
from nextgpt_lite.language_models import FOUR_BITS, QuantisationError, load_language_model


@pytest.fixture
def folder(tmp_path):
    config = LlamaConfig(
        vocab_size=32, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def test_the_settings_are_the_papers():
    settings = BitsAndBytesConfig(**FOUR_BITS)
    assert settings.load_in_4bit and settings.bnb_4bit_quant_type == "nf4"
    assert settings.bnb_4bit_use_double_quant and settings.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_it_says_what_to_install(folder):
    with pytest.raises(QuantisationError, match=r"needs bitsandbytes, .* pip install -e '.\[quant\]' in the project's"):
        load_language_model(folder, precision="int4")
    with pytest.raises(QuantisationError):
        new_core(CoreConfig(), folder, precision="int4")


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None or not torch.cuda.is_available(), reason="needs bitsandbytes, CUDA"
)
def test_the_base_is_held_in_four_bits(folder):
    model = load_language_model(folder, precision="int4")
    projection = model.model.layers[0].self_attn.q_proj
    assert type(projection).__name__ == "Linear4bit" and projection.weight.dtype == torch.uint8
    assert not any(parameter.requires_grad for parameter in model.parameters())
