"""Merging: peft's folders and the published layout, written positions, checked keys, the core's LoRA."""

import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from nextgpt_lite.checkpoint import CheckpointError
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_lora
from nextgpt_lite.long_context.merge import merge_adapter, merge_core, merge_lora
from nextgpt_lite.model import AnyToAnyCore

IDS = torch.arange(12)[None]
WHOLE = ["embed_tokens", "input_layernorm", "post_attention_layernorm", "norm"]


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def trained(base, tmp_path):
    """(adapter folder as peft writes it, norms and embeddings inside; logits of the model that was trained)."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=WHOLE, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
        logits = model(IDS).logits
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", logits


def published(adapter):
    """The same adapter in LongLoRA's layout: LoRA and whole parameters apart, both as ``.bin``."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({k: v for k, v in tensors.items() if "lora_" in k}, adapter / "adapter_model.bin")
    torch.save({k: v for k, v in tensors.items() if "lora_" not in k}, adapter / "trainable_params.bin")
    config = adapter / "adapter_config.json"
    assert '"modules_to_save": [' in config.read_text()
    LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM").save_pretrained(str(adapter))
    return adapter


def test_a_folder_of_peft_merges(base, trained, tmp_path):
    adapter, logits = trained
    merged = AutoModelForCausalLM.from_pretrained(merge_adapter(base, adapter, tmp_path / "out"))
    torch.testing.assert_close(merged(IDS).logits, logits, rtol=1e-5, atol=1e-6)


def test_the_published_layout_merges_and_gets_its_positions(base, trained, tmp_path):
    adapter, logits = trained
    with pytest.raises(CheckpointError, match="does not say on what positions it was trained"):
        merge_adapter(base, published(adapter), tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(merge_adapter(base, adapter, tmp_path / "out", length=256))
    assert merged.config.rope_parameters["factor"] == 4.0 and merged.config.rope_parameters["rope_type"] == "linear"
    assert not torch.allclose(merged(IDS).logits, logits, atol=1e-4), "other positions"
    merged = AutoModelForCausalLM.from_pretrained(merge_adapter(base, adapter, tmp_path / "old", length=64))
    torch.testing.assert_close(merged(IDS).logits, logits, rtol=1e-5, atol=1e-6)


def test_rows_that_an_adapter_has_more_make_the_base_grow(base, trained, tmp_path):
    """LongLoRA's published embeddings have one more, for padding; output rows are the mean of the others there."""
    path, name = published(trained[0]) / "trainable_params.bin", "base_model.model.model.embed_tokens.weight"
    tensors = torch.load(path, weights_only=True)
    torch.save(tensors | {name: torch.cat([tensors[name], torch.ones(1, 16)])}, path)
    merged = AutoModelForCausalLM.from_pretrained(merge_adapter(base, path.parent, tmp_path / "out", length=64))
    assert merged.config.vocab_size == 33
    torch.testing.assert_close(merged(IDS).logits[..., :32], trained[1], rtol=1e-5, atol=1e-6)
    output = merged.get_output_embeddings().weight
    torch.testing.assert_close(output[32], output[:32].mean(0))
    torch.save(tensors | {name: tensors[name].repeat(4, 1)}, path)
    with pytest.raises(CheckpointError, match=r"embed_tokens.weight' has shape \(128, 16\), expected \(32, 16\)"):
        merge_adapter(base, path.parent, tmp_path / "other", length=64)


def test_a_pickle_is_not_executed(base, trained, tmp_path):
    adapter, _ = trained

    class Surprise:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (adapter / "trainable_params.bin").write_bytes(pickle.dumps({"x": Surprise()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"trainable_params\.bin cannot be read as weights"):
        merge_adapter(base, adapter, tmp_path / "out")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(next(k for k in t if "lora_A" in k)), "lacks the key 'model.layers.0"),
        (lambda t: t.pop("base_model.model.model.norm.weight"), None),
        (
            lambda t: t.pop("base_model.model.model.layers.1.input_layernorm.weight"),
            "lacks the key 'model.layers.1.input_layernorm.weight'",
        ),
        (
            lambda t: t.update({"base_model.model.model.extra.weight": torch.ones(1)}),
            "unknown key 'model.extra.weight'",
        ),
        (
            lambda t: t.update({"base_model.model.model.norm.weight": torch.ones(3)}),
            r"'model.norm.weight' has shape \(3,\), expected \(16,\)",
        ),
    ],
    ids=["missing", "whole", "layer", "unknown", "shape"],
)
def test_keys_that_do_not_fit_are_refused_by_name(base, trained, tmp_path, change, said):
    path = trained[0] / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=said or "lacks"):
        merge_adapter(base, trained[0], tmp_path / "out")


def test_what_is_no_adapter_is_refused(base, trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"is no adapter: expected adapter_config\.json"):
        merge_adapter(base, base, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="out exists already: give a new folder"):
        merge_adapter(base, trained[0], tmp_path / "out")


def test_infinite_weights_are_refused(base):
    config = LoraConfig(r=2, target_modules=["q_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).base_model.model
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.lora_B["default"].weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="NaNs"):
        merge_lora(model)


@pytest.mark.parametrize("prompts", [True, False])
def test_the_core_says_the_same_after_its_lora_is_merged(base, prompts):
    config = CoreConfig(
        text_config=AutoConfig.from_pretrained(base),
        first_added_token=32,
        embedding_width=8,
        bind={"inner_width": 8, "blocks": 1},
        prompts={"media_tokens": int(prompts)},
    )
    torch.manual_seed(3)
    core = AnyToAnyCore(config).eval()
    core.initialise_added_rows()
    add_lora(core, {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj"]})
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if ".lora_" in name or "_gate" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    ids = torch.tensor([[7, 8, core.table.placeholders["image"], 9, 10]])
    media = torch.randn(1, 1, config.embedding_width)
    with torch.no_grad():
        before = core(ids, media_embeddings=media).logits
        merge_core(core)
        torch.testing.assert_close(core(ids, media_embeddings=media).logits, before, rtol=1e-4, atol=1e-5)
    assert (core.config.lora or {}).get("target_modules") == (["k_proj", "v_proj"] if prompts else None)
