"""A quick core says what the core says that it stands in for, is refused where it would not, and needs little."""

import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.atomic import hash_folder, write_json
from data.strict import read_json
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import WEIGHTS, CheckpointError
from nextgpt_lite.core_checkpoint import load_core, new_core, save_core, save_language_model
from nextgpt_lite.decoding.quick_core import QuickCore, load_quick_core
from nextgpt_lite.generate import end_tokens
from nextgpt_lite.language_models import read_tokenizer
from nextgpt_lite.long_context.merge import save_adapter
from nextgpt_lite.model import AnyToAnyCore
from tests.nextgpt_lite import test_paper_forms as papers
from tests.nextgpt_lite.decoding.test_engines import (
    OTHERS,
    SIBLINGS,
    assert_same,
    conversations,
    make_core,
    run,
    words_alone,
)
from tests.nextgpt_lite.test_paper_forms import FORMS, base

__all__ = ["base"]  # the fixture
QUICK = [name for name, form in FORMS.items() if not form.get("bias_tuning")]


def save(core: AnyToAnyCore, folder):
    save_language_model(core, folder / "language_model")
    save_core(core, folder / "core")
    return folder / "core", folder / "language_model"


def both(core_folder, base_folder, adapter=None):
    """The quick core of a folder, which must be one, and the whole one."""

    def load_whole():
        return load_core(core_folder, base_folder, adapter=adapter)

    quick, whole = load_quick_core(core_folder, base_folder, adapter, load_whole), load_whole()
    assert isinstance(quick, QuickCore)
    return quick, whole


@pytest.mark.parametrize("form", QUICK)
def test_every_form_without_bias_tuning(form, base, tmp_path):
    save_core(papers.make(form, base), tmp_path / "core")
    quick, whole = both(tmp_path / "core", base)
    assert_same(run(quick, conversations(quick)), run(whole, conversations(whole)))


@pytest.mark.parametrize("name", [name for name in SIBLINGS if "biases" not in name])
def test_siblings_and_scaled_positions(name, tmp_path):
    quick, whole = both(*save(make_core(SIBLINGS[name]), tmp_path))
    assert_same(run(quick, words_alone(quick)), run(whole, words_alone(whole)))


def test_half_precision_is_read_as_it_is(tmp_path):
    core = make_core({"model_type": "llama"})
    save_language_model(core, tmp_path / "language_model", torch.bfloat16)
    save_core(core, tmp_path / "core")
    quick, whole = both(tmp_path / "core", tmp_path / "language_model")
    assert_same(run(quick, words_alone(quick)), run(whole, words_alone(whole)))
    assert all(linear.half.dtype == torch.bfloat16 for linear in quick.language_model.layers[0].feed_in)


@torch.no_grad()
def test_a_context_adapter_counts_as_if_it_were_merged(base, tmp_path):
    """LoRA on projections and embeddings, norms whole, positions of its own."""
    lora = {"r": 2, "lora_alpha": 6, "target_modules": ["v_proj", "o_proj", "embed_tokens"]}
    model = AutoModelForCausalLM.from_pretrained(base)
    inject_adapter_in_model(LoraConfig(**lora), model)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "norm" in name:
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    norms = [name for name, _ in model.named_parameters() if "layernorm" in name]
    save_adapter(model, model.config, lora, norms, tmp_path / "adapter")
    core = papers.make("imagebind_llm", base)
    core.config.context_adapter = hash_folder(tmp_path / "adapter")
    core = new_core(core.config, base, adapter=tmp_path / "adapter")
    save_core(core, tmp_path / "core")
    quick, whole = both(tmp_path / "core", base, tmp_path / "adapter")
    for ours, theirs in zip(quick.language_model.layers, whole.language_model.model.layers, strict=True):
        frozen = theirs.self_attn.v_proj.base_layer.weight  # prompts pass through it: without the core's LoRA
        torch.testing.assert_close(ours.module.v_proj.merged().weight, frozen)
        assert torch.equal(ours.attention_norm, theirs.input_layernorm.weight)
    torch.testing.assert_close(quick.get_input_embeddings().weight, whole.get_input_embeddings().weight)
    assert_same(run(quick, conversations(quick)), run(whole, conversations(whole)))
    growing = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}  # which depends on how long a row is
    write_json(tmp_path / "adapter" / "positions.json", {"rope_parameters": growing})
    config = read_json(tmp_path / "core" / "config.json")
    write_json(tmp_path / "core" / "config.json", config | {"context_adapter": hash_folder(tmp_path / "adapter")})
    assert load_quick_core(tmp_path / "core", base, tmp_path / "adapter", lambda: None) is None
    (tmp_path / "adapter" / "positions.json").write_text("{}")
    assert load_quick_core(tmp_path / "core", base, tmp_path / "adapter", lambda: None) is None


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_loaded_in_full(name, tmp_path):
    folders = save(make_core(OTHERS[name]), tmp_path)
    assert load_quick_core(*folders, None, lambda: None) is None


def test_damaged_folders_are_left_to_who_says_what_is_wrong(base, tmp_path):
    save_core(papers.make("imagebind_llm", base), tmp_path / "core")
    own = shutil.copytree(base, tmp_path / "base")
    tensors = load_file(own / "model.safetensors")
    lacking = {name: value for name, value in tensors.items() if "layers.0.mlp.up_proj" not in name}
    save_file(lacking, own / "model.safetensors", {"format": "pt"})
    assert load_quick_core(tmp_path / "core", own, None, lambda: None) is None
    (shutil.copytree(base, tmp_path / "other") / "generation_config.json").write_text("{")
    assert load_quick_core(tmp_path / "core", tmp_path / "other", None, lambda: None) is None
    given = load_file(tmp_path / "core" / "model.safetensors")
    name = next(name for name in given if name.endswith("lora_B.default.weight"))
    save_file({**given, name: given[name][1:].clone()}, tmp_path / "core" / "model.safetensors")
    assert load_quick_core(tmp_path / "core", base, None, lambda: None) is None
    given.pop("added_output")
    save_file(given, tmp_path / "core" / "model.safetensors")
    with pytest.raises(CheckpointError, match="added_output"):
        load_quick_core(tmp_path / "core", base, None, lambda: None)


def test_called_as_the_whole_one_it_computes_the_same(tiny_folder, tiny_model):
    model, ids = AnyToAny.from_pretrained(tiny_folder, quick=True), torch.arange(9)[None]
    assert isinstance(model.core, QuickCore)
    assert torch.equal(model.core(ids).logits, tiny_model.core(ids).logits)
    assert end_tokens(model.core, model.tokenizer) == end_tokens(tiny_model.core, tiny_model.tokenizer)
    count = sum(parameter.numel() for parameter in tiny_model.core.parameters())
    assert sum(parameter.numel() for parameter in model.core.parameters()) == count


def test_plain_tokenizers_are_those_that_transformers_finds(tiny_folder):
    for folder in (tiny_folder / "tokenizer", WEIGHTS / "nano" / "tokenizer"):
        ours, theirs = read_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
        assert type(ours) is type(theirs)
        assert str(ours) == str(theirs)
        assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()


def test_words_need_none_of_the_models_of_transformers(tiny_folder):
    code = (
        "import sys; from nextgpt_lite.commands.chat import load_model; "
        f"load_model({str(tiny_folder)!r}).chat([{{'role': 'user', 'content': 'hello'}}], allowed_media=()); "
        "print([name for name in ('transformers.modeling_utils', 'peft', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
