"""Every paper's form saves, loads and merges."""

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, LlamaConfig

from nextgpt_lite.checkpoint import load_core, new_core, save_core, trained_state
from nextgpt_lite.config import CoreConfig
from tests.nextgpt_lite.test_model import BASE, SIZES

#: LoRA where gated prompts do not pass. They go through the frozen k and v, without LoRA: merged there, they would
#: hear something else.
BESIDE_PROMPTS = ["q_proj", "o_proj", "up_proj", "down_proj"]
TRANSFORMER = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 32}
GROUP = {"inner_width": 16, "depths": [1, 1], "heads": 2, "group_tokens": [4, 0], "groups": [3]}
QFORMER = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 24}
NO_PROMPTS = {"prompts": {"media_tokens": 0}, "input_features": "patches"}
FORMS = {
    "llama_adapter_v1": {"prompts": {"media_tokens": 0, "static_tokens": 3, "static_layers": 2}},
    "early_fusion": {"prompts": {"media_tokens": 2, "media_layers": 1, "keys": True}},
    "imagebind_llm": {"prompts": {"media_tokens": 1}},
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
    patches = form.get("input_features") == "patches"
    targets = [*BESIDE_PROMPTS, "k_proj", "v_proj"] if patches else BESIDE_PROMPTS
    settings = {
        "text_config": LlamaConfig(num_key_value_heads=2, **SIZES),
        "first_added_token": BASE,
        "signal_tokens": {"image": 2, "video": 3, "audio": 2},
        "embedding_width": 16,
        "input_tokens": 3,
        "bind": {"inner_width": 24, "blocks": 1},
        "output_projection_settings": {} if name in ("nextgpt_linear", "llava") else TRANSFORMER,
        "conditions": {"image": [5, 12], "audio": [1, 8]},
        "lora": {"r": 2, "lora_alpha": 4, "target_modules": targets},
    }
    core = new_core(CoreConfig(**settings | form), base).eval()
    torch.manual_seed(1)
    for parameter in trained_state(core).values():
        parameter.copy_((0.3 * torch.randn(parameter.shape)).half())  # what is written has half precision
    return core


def speak(core):
    """Logits and a condition of a row with one medium in and one image out."""
    torch.manual_seed(2)
    patches = core.config.input_features == "patches"
    ids = torch.randint(0, BASE, (1, 12))
    ids[0, 2:5] = core.table.placeholders["image"]
    ids[0, 8:10] = torch.tensor(list(core.table.spans["image"]))
    output = core(ids, media_embeddings=torch.randn(1, 1, 3, 16) if patches else torch.randn(1, 1, 16))
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


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_a_form_that_was_merged_says_the_same(name, base):
    core = make(name, base)
    before = speak(core)
    layers = [module for module in core.modules() if isinstance(module, BaseTunerLayer)]
    assert len(layers) == 3 * len(core.config.lora["target_modules"])
    weights = [layer.get_base_layer().weight.clone() for layer in layers]
    for layer in layers:
        layer.merge()
    assert all(not torch.equal(old, layer.get_base_layer().weight) for old, layer in zip(weights, layers, strict=True))
    for ours, merged in zip(before, speak(core), strict=True):
        torch.testing.assert_close(merged, ours, atol=2e-4, rtol=1e-3)
