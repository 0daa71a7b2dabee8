"""Every paper's form saves, loads and merges."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from nextgpt_lite.checkpoint import CheckpointError
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import load_core, new_core, save_core, save_language_model, trained_state
from nextgpt_lite.long_context.merge import merge_core
from tests.nextgpt_lite.test_model import BASE, SIZES

LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"]}
VISUAL = {"tokens": 2, "inner_width": 12, "blocks": 1, "heads": 2}
STATIC = {"static_tokens": 3, "static_layers": 2}
TRANSFORMER = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 32}
GROUP = {"inner_width": 16, "depths": [1, 1], "heads": 2, "group_tokens": [4, 0], "groups": [3]}
QFORMER = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 24}
NO_PROMPTS = {"prompts": {"media_tokens": 0}, "input_features": "patches"}
FORMS = {
    "llama_adapter_v1": {"prompts": {"media_tokens": 0, **STATIC}, "lora": None, "bias_tuning": None},
    "llama_adapter_v2": {
        "prompts": {"media_tokens": 2, "media_layers": 1, "keys": True, "reach": "row", **STATIC},
        "visual": VISUAL,
        "bias_tuning": {"scale": "output"},
    },
    "llama_adapter_v2_7b": {
        "prompts": {"media_tokens": 0, "media_added": True, "gate_scale": True, "reach": "row"}
        | {"static_tokens": 2, "static_layers": 2},
        "visual": VISUAL,
        "bias_tuning": {"scale": "none", "targets": ["q_proj", "o_proj", "up_proj"]},
    },
    "llama_adapter_v2_65b": {
        "prompts": {"media_tokens": 0, **STATIC},
        "bias_tuning": {"scale": "input"},
        "lora": None,
    },
    "imagebind_llm": {"prompts": {"media_tokens": 1}},
    "imagebind_llm_row": {"prompts": {"media_tokens": 1, "reach": "row", "media_layers": 2, "media_last": True}},
    "imagebind_llm_words": {"prompts": {"media_tokens": 1, "injection": "words"}},
    "imagebind_llm_words_row": {"prompts": {"media_tokens": 1, "injection": "words", "reach": "row"}},
    "nextgpt_linear": NO_PROMPTS | {"input_projection": "linear", "output_projection": "linear"},
    "nextgpt_mlp": NO_PROMPTS
    | {"input_projection": "mlp", "output_projection": "qformer", "output_projection_settings": QFORMER},
    "nextgpt_group": NO_PROMPTS
    | {"input_projection": "group", "input_projection_settings": GROUP, "input_tokens": 3}
    | {"output_projection": "transformer", "output_projection_settings": TRANSFORMER},
    "llava": NO_PROMPTS | {"input_projection": "mlp2x_gelu", "conditions": {}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    AutoModelForCausalLM.from_config(LlamaConfig(num_key_value_heads=2, **SIZES)).save_pretrained(folder)
    return folder


@torch.no_grad()
def make(name, base):
    """A core of the form whose every trained number is something."""
    form = FORMS[name]
    settings = {
        "text_config": LlamaConfig(num_key_value_heads=2, **SIZES),
        "first_added_token": BASE,
        "signal_tokens": {"image": 2, "video": 3, "audio": 2},
        "embedding_width": 16,
        "input_tokens": 3,
        "bind": {"inner_width": 24, "blocks": 1},
        "output_projection_settings": {} if name in ("nextgpt_linear", "llava") else TRANSFORMER,
        "conditions": {"image": [5, 12], "audio": [1, 8]},
        "lora": LORA,
    }
    core = new_core(CoreConfig(**settings | form), base).eval()
    torch.manual_seed(1)
    for parameter in trained_state(core).values():
        parameter.copy_((0.3 * torch.randn(parameter.shape)).half())  # what is written has half precision
    return core


def speak(core):
    """Logits and a condition of a row with one medium in and one image out."""
    torch.manual_seed(2)
    ids = torch.randint(0, BASE, (1, 12))
    ids[0, 2:5] = core.table.placeholders["image"]
    ids[0, 8:10] = torch.tensor(list(core.table.spans["image"]))
    output = core(
        ids, media_embeddings=torch.randn(1, 1, 3, 16) if core.config.reads_patches else torch.randn(1, 1, 16)
    )
    made = [core.conditions(ids, output.last_hidden_state, "image")] if "image" in core.output_projections else []
    return [output.logits, *made]


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_a_form_that_was_saved_and_loaded_says_the_same(name, base, tmp_path):
    core = make(name, base)
    save_core(core, tmp_path / "core")
    loaded = load_core(tmp_path / "core", base)
    assert trained_state(loaded).keys() == trained_state(core).keys()
    for ours, theirs in zip(speak(core), speak(loaded), strict=True):
        assert torch.equal(ours, theirs)


TUNED = [name for name, form in FORMS.items() if form.get("lora", LORA) or form.get("bias_tuning")]


@pytest.mark.parametrize("name", TUNED)
@torch.no_grad()
def test_a_form_that_was_merged_says_the_same(name, base, tmp_path):
    """At once, and again when it is loaded: LoRA is left only where gated prompts pass by it, bias tuning nowhere."""
    core = make(name, base)
    before, weight = speak(core), core.language_model.model.layers[0].mlp.up_proj.weight.clone()
    merge_core(core)
    for ours, merged in zip(before, speak(core), strict=True):
        torch.testing.assert_close(merged, ours, atol=2e-4, rtol=1e-3)
    assert not torch.equal(core.language_model.model.layers[0].mlp.up_proj.weight, weight)
    assert core.config.bias_tuning is None
    prompted = any(True for _ in core.gated_prompts.parameters())
    left = ["k_proj", "v_proj"] if prompted and FORMS[name].get("lora", LORA) else None
    assert (core.config.lora or {}).get("target_modules") == left
    for parameter in core.parameters():
        parameter.copy_(parameter.half())
    save_language_model(core, tmp_path / "language_model")
    save_core(core, tmp_path / "core")
    loaded = load_core(tmp_path / "core", tmp_path / "language_model")
    for ours, theirs in zip(speak(core), speak(loaded), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-5)


def test_a_form_with_nothing_to_merge_is_refused(base):
    with pytest.raises(CheckpointError, match="nothing to merge: it has neither LoRA nor bias tuning"):
        merge_core(make("llama_adapter_v1", base))
