"""What stands beside published weights (settings, names, indices) and does not fit them is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nextgpt_lite.cli import main
from tests.nextgpt_lite.released_weights.published import Given, adapter_config, flat_index
from tests.nextgpt_lite.released_weights.test_mutations import refused

UNITS = torch.nn.functional.normalize(torch.randn(40, 24, generator=torch.Generator().manual_seed(0)), dim=-1)
NOT_A_NUMBER = UNITS.clone().index_fill(0, torch.tensor(7), torch.nan)


def files(**changes: Any):
    """Files by name, ``__`` for a dot; None takes one away."""

    def change(given: Given) -> Given:
        named = {name.replace("__", "."): value for name, value in changes.items()}
        kept = {name: value for name, value in (given.files | named).items() if value is not None}
        return replace(given, files=kept)

    return change


def edited(name: str, **changes: Any):
    """A JSON file with other values; None takes a key away."""

    def change(given: Given) -> Given:
        values = json.loads(given.files[name]) | changes
        kept = {key: value for key, value in values.items() if value is not None}
        return replace(given, files=given.files | {name: json.dumps(kept)})

    return change


def beside(**changes: Any):
    """Other settings beside the weights of V2."""

    def change(given: Given) -> Given:
        content = given.files[given.main]
        return replace(given, files={given.main: content | {"config": content["config"] | changes}})

    return change


def tensor(name: str, make):
    """Another tensor, in whichever file has it."""

    def change(given: Given) -> Given:
        file = next(each for each, content in given.files.items() if isinstance(content, dict) and name in content)
        content = given.files[file] | {name: make(given.files[file][name])}
        return replace(given, files=given.files | {file: content})

    return change


def settings(**changes: Any):
    return lambda given: replace(given, settings=given.settings | changes)


def file_named(name: str):
    return lambda given: replace(given, files={name: given.files[given.main]}, main=name)


EMBEDDING = "base_model.model.model.embed_tokens.weight"
LEGACY = "llama_model.base_model.model.model.embed_tokens.weight"


def another(value: torch.Tensor) -> torch.Tensor:
    return torch.randn(value.shape, generator=torch.Generator().manual_seed(1))


VARIANTS: dict[str, list[tuple[Any, str]]] = {
    "llama_adapter_v1": [
        (file_named("llama_adapter_len10_layer30.pth"), "'adapter_query.weight' has 15 rows, its name says 10 in 30"),
        (file_named("llama_adapter_len3_layer4.pth"), "has 15 rows, its name says 3 in 4 layers"),
        (settings(prompt_tokens=4), "which are no prompts of length 4 in some of 4 layers"),
        (settings(prompt_tokens=0), "prompt_tokens must be an integer, at least 1"),
        (settings(length=5), "unknown key 'length'"),
        (tensor("layers.3.attention.gate", lambda gate: gate[:, :3]), "3.attention.gate' has shape (1, 3, 1, 1)"),
    ],
    "llama_adapter_v2": [
        (beside(lora_rank=8), "lora_wk_l1.weight' has shape (16, 64), expected (8, 64)"),
        (beside(w_lora=False, w_new_gate=False), "unknown key 'llama.layers."),
        (beside(w_bias=False), "unknown key 'llama."),
        (beside(w_new_gate=False), "unknown key 'llama.layers.0.attention.new_gate'"),
        (beside(w_lora="yes"), "w_lora must be true or false, not 'yes'"),
        (beside(lora_alpha=3), "config: unknown key 'lora_alpha'"),
        (beside(lora_rank=0), "lora_rank must be an integer, at least 1, not 0"),
        (settings(visual_heads=5), "visual blocks of width 48 cannot have 5 heads"),
    ],
    "llama_adapter_v2_chat": [
        (files(consolidated__01__pth=None), "gate' has shape (1, 2, 1, 1), expected (1, 4, 1, 1)"),
        (files(consolidated__01__pth={"norm.weight": torch.ones(64)}), "is in 1 of 2 shards"),
        (settings(prompt_tokens=7), "which are no prompts of length 7"),
    ],
    "imagebind_llm": [
        (files(knn__index=b"IvFl" + flat_index(UNITS)[4:]), "is no flat index of faiss: it begins with b'IvFl'"),
        (files(knn__index=flat_index(UNITS[:, :12])), "holds vectors of width 12, the encoder's embeddings have 24"),
        (files(knn__index=flat_index(UNITS)[:-8]), "bytes, its header says 40 vectors of width 24"),
        (files(knn__index=flat_index(UNITS)[:30]), "is cut off: it has 30 bytes"),
        (files(knn__index=b""), "is no flat index of faiss"),
        (files(knn__index=flat_index(UNITS, b"IxF2", 0)), "is damaged: its header says metric 0"),
        (files(knn__index=flat_index(UNITS * 3)), "vector 0 has length 3, expected unit vectors"),
        (files(knn__index=flat_index(NOT_A_NUMBER)), "vector 7 has length nan"),
        (settings(cache="exakt"), "cache must be one of exact, ivf_sq8, ivf_rabitq, not 'exakt'"),
        (files(more__pth={"x": torch.ones(1)}), "both hold weights: expected one file"),
        (tensor("prefix_query.weight", lambda rows: rows.repeat(2, 1)), "'prefix_query.weight' has 8 rows"),
    ],
    "llava_projector": [
        (edited("config.json", hidden_size=4096), "hidden_size is 4096, that of the language model in"),
        (edited("config.json", num_hidden_layers=40), "num_hidden_layers is 40, that of the language model in"),
        (edited("config.json", vocab_size=32003), "vocab_size is 32003, that of the language model in"),
        (edited("config.json", mm_hidden_size=1024), "mm_hidden_size is 1024, that of the encoder in"),
        (edited("config.json", mm_vision_tower="openai/clip-vit-large-patch14-336"), "of 336 pixels, the encoder in"),
        (edited("config.json", mm_projector_type="linear"), "kind mlp2x_gelu, its config.json says linear"),
        (edited("config.json", mm_projector_type="resampler"), "mm_projector_type must be one of linear, mlp2x_gelu"),
        (edited("config.json", mm_use_im_start_end=True), "mm_use_im_start_end is true: tokens around images"),
        (edited("config.json", mm_patch_merge_type="spatial_unpad"), "mm_patch_merge_type must be one of flat"),
        (edited("config.json", image_aspect_ratio="anyres"), "image_aspect_ratio must be one of square, pad"),
        (edited("config.json", mm_vision_select_layer=-9), "layer must be from -4 to 3"),
        (files(config__json="{"), "config.json cannot be read"),
    ],
    "llava_lora": [
        (edited("adapter_config.json", r=4), "lora_A.weight' has shape (2, 64), expected (4, 64)"),
        (edited("adapter_config.json", lora_alpha=0), "lora_alpha must be a number, above 0, not 0"),
        (edited("adapter_config.json", lora_alpha=-16), "lora_alpha must be a number, above 0, not -16"),
        (edited("adapter_config.json", lora_alpha="high"), "lora_alpha must be a number, above 0, not 'high'"),
        (edited("adapter_config.json", lora_alpha=None), "missing key 'lora_alpha'"),
        (edited("adapter_config.json", target_modules=["q_proj"]), "unknown key 'base_model.model.model.layers.0."),
        (edited("adapter_config.json", target_modules=["q_proj", "lm_head"]), "target_modules[1] must be one of"),
        (edited("adapter_config.json", use_dora=True), "use_dora is true, expected false"),
        (edited("adapter_config.json", bias="all"), 'bias is "all", expected "none"'),
        (edited("adapter_config.json", peft_type="IA3"), 'peft_type is "IA3", expected "LORA"'),
        (files(adapter_config__json=None), "there is no adapter_config.json"),
        (files(non_lora_trainables__bin=None), "there is no non_lora_trainables.bin"),
        (files(adapter_model__safetensors=b"x"), "are both given: expected one of them"),
    ],
    "longlora": [
        (edited("adapter_config.json", r=1), "has shape (2, 64), expected (1, 64)"),
        (edited("adapter_config.json", lora_alpha=0), "lora_alpha must be a number, above 0, not 0"),
        (files(adapter_config__json=adapter_config(target_modules=["k_proj"])), "lacks the key"),
        (files(adapter_model__bin=None), "there is no adapter_model.bin"),
        (tensor(EMBEDDING, another), "was trained from another language model than the one in"),
        (tensor(EMBEDDING, lambda rows: rows[:100]), "has 100 rows, the vocabulary of"),
        (tensor(EMBEDDING, lambda rows: rows.repeat(2, 1)), "has 258 rows, the vocabulary of"),
        (lambda given: replace(given, settings={}), "does not say on what positions it was trained: give the length"),
        (settings(scaling="ntk"), "scaling must be one of linear, yarn, dynamic, not 'ntk'"),
    ],
    "meta_llama": [
        (edited("params.json", dim=128), "as"),
        (edited("params.json", n_heads=5), "dim 64, n_heads 5 and n_kv_heads None do not divide"),
        (edited("params.json", n_kv_heads=2), "attention.wk.weight' has shape (64, 64), expected (32, 64)"),
        (edited("params.json", n_layers=3), "unknown key 'layers.3."),
        (edited("params.json", n_layers=5), "lacks the key 'layers.4."),
        (edited("params.json", vocab_size=32000), "'tok_embeddings.weight' has 128 rows, vocab_size in"),
        (edited("params.json", multiple_of=256), "feed_forward.w1.weight' has shape (192, 64), expected (256, 64)"),
        (edited("params.json", use_scaled_rope=True), "use_scaled_rope is true"),
        (edited("params.json", moe={}), "unknown key 'moe'"),
        (edited("params.json", dim=None), "missing key 'dim'"),
        (files(params__json=None), "there is no params.json"),
        (files(consolidated__01__pth=None), "has shape"),
        (lambda given: replace(given, base=None), "there is no tokenizer.json or tokenizer.model in"),
    ],
    "nextgpt": [
        (tensor(EMBEDDING, another), "model.embed_tokens.weight' was trained from another language model"),
        (tensor(EMBEDDING, lambda rows: rows[:-1]), "has shape (159, 64), expected (160, 64)"),
        (edited("adapter_config.json", r=8), "has shape (2, 64), expected (8, 64)"),
        (files(adapter_config__json=None), "there is no adapter_config.json"),
        (settings(output_heads=7), "in_fc.weight' has 16 rows, which cannot be parted into 7 heads"),
    ],
    "nextgpt_legacy": [
        (tensor(LEGACY, another), "was trained from another language model"),
        (tensor(LEGACY, lambda rows: rows[:-2]), "has shape (136, 64), expected (138, 64)"),
        (settings(lora_alpha=-1), "lora_alpha must be a number, above 0"),
    ],
}  # fmt: skip
CASES = [(name, number) for name, variants in VARIANTS.items() for number in range(len(variants))]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_variants(name, number, makers, tmp_path, capsys, monkeypatch):
    change, said = VARIANTS[name][number]
    assert said in refused(name, change(makers(name)), tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["llama_adapter_v3", "x", "--out", "model"],
            "unknown format 'llama_adapter_v3': did you mean",
        ),
        (["llama_adapter_v1", "gone.pth", "--base", ".", "--out", "model"], ""),
        (["llama_adapter_v1", ".", "--base", "gone", "--out", "model"], "there is no base at gone"),
        (["imagebind_huge", "gone.pth", "--base", ".", "--out", "model"], "goes on no base"),
        (["imagebind_huge", "gone.pth", "--out", "model"], "there is nothing at gone.pth"),
        (["imagebind_huge", ".", "--out", "model"], "no file of weights, expected one that ends in .pth"),
        (["llava_projector", ".", "--out", "model", "--set", "x"], "--set 'x' must be NAME=VALUE"),
    ],
)
def test_words(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["import-weights", *words]) == 2
    assert said in capsys.readouterr().err and not Path("model").exists()


def test_a_folder_that_holds_something_is_kept(makers, tmp_path, capsys):
    given = makers("llama_adapter_v1")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine").write_text("mine")
    words = given.words("llama_adapter_v1", given.write(tmp_path / "published"), tmp_path / "model")
    assert main(words) == 2
    assert "holds something already" in capsys.readouterr().err
    assert (tmp_path / "model/mine").read_text() == "mine"
