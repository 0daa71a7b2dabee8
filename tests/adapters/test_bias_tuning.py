"""Bias tuning: both places of the scale, what it trains, with LoRA around it, folded into a plain model."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from adapters.llama_adapter_v2 import FORMS, SCALES, TunedLinear, fold, tune, tuned_parameters

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "down_proj"]}


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def disturb(model):
    """No bias, scale, norm or LoRA matrix is left at its start."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in tuned_parameters(model) or ".lora_" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.arange(10)[None]).logits


@pytest.mark.parametrize("form", FORMS)
def test_at_the_start_it_is_the_base_model_bit_for_bit(form):
    model = llama()
    before = logits(model)
    tune(model, **FORMS[form])
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("placement", "formula"),
    [
        ("output", lambda w, b, s, x: s * (x @ w.T + b)),
        ("input", lambda w, b, s, x: (s * x) @ w.T + b),
        ("none", lambda w, b, s, x: x @ w.T + b),
    ],
)
def test_the_formula(placement, formula):
    torch.manual_seed(1)
    linear = torch.nn.Linear(5, 3, bias=False)
    tuned = TunedLinear(linear, placement)
    bias, scale, x = torch.randn(3), torch.randn(3 if placement == "output" else 5), torch.randn(2, 5)
    with torch.no_grad():
        tuned.bias.copy_(bias)
        if tuned.scale is not None:
            tuned.scale.copy_(scale)
    expected = formula(linear.weight, bias, scale, x)
    torch.testing.assert_close(tuned(x), expected)
    torch.testing.assert_close(tuned.folded()(x), expected)
    assert tuned.weight is linear.weight


def test_a_bias_that_was_there_is_where_it_starts():
    linear = torch.nn.Linear(5, 3)
    tuned = TunedLinear(linear, "output")
    x = torch.randn(2, 5)
    assert torch.equal(tuned(x), functional.linear(x, linear.weight, linear.bias))
    assert tuned.bias is not linear.bias, "the base model's own bias must not move"


def test_what_is_trained_and_how_many():
    model = llama()
    tune(model)
    names = tuned_parameters(model)
    assert {n.rpartition(".")[2] for n in names} == {"bias", "scale", "weight"}
    assert {n for n in names if n.endswith(".weight")} == {
        "model.norm.weight",
        *(
            f"model.layers.{i}.{norm}.weight"
            for i in (0, 1)
            for norm in ("input_layernorm", "post_attention_layernorm")
        ),
    }
    outputs = 4 * 16 + 2 * 24 + 16  # output rows of a block's linears
    assert sum(p.numel() for p in names.values()) == 2 * (2 * outputs + 2 * 16) + 16
    assert not any(n.startswith("lm_head") for n in names)
    assert not any(n.endswith("norm.weight") for n in tuned_parameters(model, norms=False))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("lora", ["none", "before", "after"])
def test_folding_changes_no_logits_and_the_folded_model_is_a_plain_one(scale, lora, tmp_path):
    model = llama()
    if lora == "before":
        inject_adapter_in_model(LoraConfig(**LORA), model)
    tune(model, scale)
    if lora == "after":
        inject_adapter_in_model(LoraConfig(**LORA), model)
    expected = logits(disturb(model))
    fold(model)
    torch.testing.assert_close(logits(model), expected)
    if lora == "none":
        model.save_pretrained(tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path)
        torch.testing.assert_close(logits(again.eval()), expected)
    else:  # what remains is LoRA on plain linears
        for module in model.modules():
            if hasattr(module, "lora_A") and hasattr(module, "merge"):
                module.merge()
        torch.testing.assert_close(logits(model), expected)


def test_folding_only_some_linears_gives_the_rest_a_bias_of_zero(tmp_path):
    model = llama()
    tune(model, **FORMS["multimodal_7b"])
    expected = logits(disturb(model))
    fold(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(again), expected)
    assert again.model.layers[0].self_attn.k_proj.bias.abs().sum() == 0


def test_the_base_weights_keep_their_names():
    model = llama()
    base = dict(model.state_dict())
    tune(model, "input")
    assert base.keys() <= model.state_dict().keys()
    missing, unexpected = model.load_state_dict(base, strict=False)
    assert unexpected == [] and all(name.endswith((".bias", ".scale")) for name in missing)


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="unknown scale 'middle': expected one of output, input, none"):
        tune(llama(), "middle")
    with pytest.raises(ValueError, match="no linear named 'c_attn' in LlamaForCausalLM"):
        tune(llama(), targets=["q_proj", "c_attn"])
    with pytest.raises(ValueError, match="no linear of this model is tuned"):
        fold(llama())
    model = llama()
    tune(model)
    with pytest.raises(ValueError, match="is a TunedLinear: bias tuning needs a plain"):
        tune(model)
    mistral = MistralForCausalLM(MistralConfig(num_key_value_heads=1, **SIZES))
    tune(mistral, targets=["up_proj"])
    with pytest.raises(ValueError, match="MistralConfig has no place for the bias of"):
        fold(mistral)
