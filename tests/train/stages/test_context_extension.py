"""Stage 0 on a small Llama: what it trains and how it attends, and that the merged model equals the trained one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from adapters import attention as gated_attention
from adapters.long_context import context_length
from data.atomic import hash_folder
from data.texts import pydoc_topics
from nextgpt_lite.cli import main
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import load_core, new_core, save_core
from nextgpt_lite.long_context.merge import merge_adapter
from nextgpt_lite.weight_files import CheckpointError
from train.engine.trainer import TaskTrainer
from train.foundations.language.language_model import train_tokenizer
from train.recipe import RecipeError, read_recipe
from train.run import run_recipe
from train.task import build_task

RECIPE = Path(__file__).parents[3] / "train/recipes/context_extension.yaml"
POSITIONS, LENGTH = 32, 50
SHORT = {"steps": 2, "gradient_accumulation_steps": 1, "warmup": 0.0, "tracker": "none", "bf16": False, "threads": 1}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(vocabulary=400, texts=20)


@pytest.fixture
def folder(tokenizer, tmp_path):
    """A model folder with a tokenizer and a language model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model/language_model")
    tokenizer.save_pretrained(tmp_path / "model/tokenizer")
    return tmp_path / "model"


def short(folder, settings=None, **changes):
    settings = {"length": LENGTH, "rows": 2, "held_out": 1, **(settings or {})}
    return replace(read_recipe(RECIPE), model=str(folder), task_settings=settings, **SHORT | changes)


def test_it_trains_lora_norms_and_embeddings_and_merges(folder, tmp_path, capsys):
    figures = run_recipe(short(folder), tmp_path / "run")
    assert figures["perplexity"] > 1.0
    capsys.readouterr()

    base, adapter, out = folder / "language_model", folder / "context_adapter", tmp_path / "long"
    assert main(["merge", str(base), str(adapter), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: {2 * POSITIONS} positions\n"
    merged = AutoModelForCausalLM.from_pretrained(out)
    assert merged.config.rope_parameters["factor"] == 2.0 and context_length(merged.config) == 2 * POSITIONS
    assert (out / "generation_config.json").is_file()
    old = AutoModelForCausalLM.from_pretrained(base).state_dict()
    moved = {name for name, value in merged.state_dict().items() if not torch.equal(value, old[name])}
    trained = ("norm", "embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj")
    assert moved == {name for name in old if any(part in name for part in trained)}, "the rest is frozen"


def test_the_merged_model_equals_the_trained_one(folder, tmp_path):
    task = build_task(short(folder))
    torch.manual_seed(1)
    with torch.no_grad():
        for part in ("lora", "norms", "embeddings"):
            for parameter in task.parts()[part]:
                parameter.add_(0.1 * torch.randn_like(parameter))
    task.export(folder)
    merged = AutoModelForCausalLM.from_pretrained(
        merge_adapter(folder / "language_model", folder / "context_adapter", tmp_path / "long")
    )
    row = task.held_out[:1]
    with torch.no_grad():
        expected = task.model.eval().language_model(row).logits
        torch.testing.assert_close(merged(row).logits, expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_belongs_to_a_part(folder):
    task = build_task(short(folder))
    parts = task.parts()
    assert sum(map(len, parts.values())) == len(list(task.model.parameters()))
    layers = 2
    assert len(parts["norms"]) == 2 * layers + 1 and len(parts["embeddings"]) == 1
    assert len(parts["lora"]) == 4 * 2 * layers
    assert task.model.language_model.config._attn_implementation == gated_attention.NAME


def test_what_full_tuning_trains_is_exported(folder, tmp_path):
    rates = {"language_model": 1e-2, "lora": 0.0, "norms": 1e-2, "embeddings": 1e-2}
    recipe = short(folder, {"form": "unshifted", "group": 1.0}, learning_rates=rates)
    task = build_task(recipe)
    TaskTrainer(task, recipe, tmp_path / "run").train()
    task.export(folder)
    base = folder / "language_model"
    merged = AutoModelForCausalLM.from_pretrained(merge_adapter(base, folder / "context_adapter", tmp_path / "long"))
    row, old = task.held_out[:1], AutoModelForCausalLM.from_pretrained(base).state_dict()
    assert [name for name, value in merged.state_dict().items() if torch.equal(value, old[name])] == []
    with torch.no_grad():
        expected = task.model.eval().language_model(row).logits
        torch.testing.assert_close(merged(row).logits, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_measured_where_no_row_is_held_out(folder):
    assert build_task(short(folder, {"held_out": 0})).evaluate() == {}


def test_one_unshifted_group_is_dense_attention(folder):
    task = build_task(short(folder, {"form": "unshifted", "group": 1.0}))
    batch = task.collate([task.dataset[0]])
    with torch.no_grad():
        losses = [model(**batch)["loss"] for model in (task.model.train(), task.model.eval())]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("form", ["split", "wrap", "unshifted"])
def test_it_trains_in_groups_and_evaluates_densely(folder, form):
    task = build_task(short(folder, {"form": form, "length": 40, "group": 8}))
    batch = task.collate([task.dataset[0]])
    with torch.no_grad():
        in_groups = task.model.train()(**batch)["loss"]
        dense = task.model.eval()(**batch)["loss"]
        logits = task.model.language_model(batch["input_ids"]).logits
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], batch["input_ids"][0, 1:])
    torch.testing.assert_close(dense, expected)
    assert not torch.isclose(in_groups, dense, rtol=1e-6)


def test_it_reads_texts_end_to_end(folder, tmp_path):
    (tmp_path / "a.txt").write_text("a red bell rings " * 40, encoding="utf-8")
    settings = {"length": 32, "rows": 2, "texts": [str(tmp_path / "a.txt")]}
    task = build_task(short(folder, settings))
    assert len(task.dataset) == 2 and task.held_out.shape == (1, 32)
    said = task.tokenizer.decode(torch.cat([task.held_out[0], task.dataset[0]["input_ids"][0]]))
    assert said.startswith("a red bell rings a red bell")
    with pytest.raises(RecipeError, match="too few for 501 rows of 32"):
        build_task(short(folder, settings | {"rows": 500}))


def test_an_adapter_knows_its_positions(folder):
    build_task(short(folder, {"scaling": "yarn"})).export(folder)
    stored = json.loads((folder / "context_adapter/positions.json").read_text())
    assert stored["max_position_embeddings"] == 2 * POSITIONS and stored["rope_parameters"]["rope_type"] == "yarn"


def test_a_recipe_sets_the_rate_of_b_matrices(folder, tmp_path):
    recipe = short(folder, lora_b_ratio=8.0)
    trainer = TaskTrainer(build_task(recipe), recipe, tmp_path / "run")
    rates = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates["lora"] == 2e-5 and rates["lora.b"] == pytest.approx(1.6e-4)
    assert rates["norms.vectors"] == rates["embeddings"] == 2e-5
    trained = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in trainer.task.model.parameters() if p.requires_grad}


def test_a_core_reads_the_extended_base_and_no_other(folder, tmp_path):
    lora = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "embed_tokens"]}
    rates = {"lora": 0.1, "norms": 0.01, "embeddings": 0.0, "language_model": 0.0}
    run_recipe(short(folder, {"lora": lora}, learning_rates=rates), tmp_path / "run")
    base, adapter = folder / "language_model", folder / "context_adapter"
    stored = set(load_file(adapter / "trainable_params.safetensors"))
    assert stored and not any("embed_tokens" in name for name in stored)  # their change is of low rank
    merge_adapter(base, adapter, tmp_path / "long")
    text_config = AutoConfig.from_pretrained(tmp_path / "long")
    settings = {"embedding_width": 8, "first_added_token": text_config.vocab_size, "conditions": {"audio": (1, 8)}}
    config = CoreConfig(text_config=text_config, context_adapter=hash_folder(adapter), **settings)
    core = new_core(config, base, adapter=adapter).eval()
    ids = torch.arange(3, 3 + POSITIONS + 8)[None]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "long", dtype=torch.float32)
    assert torch.allclose(core(ids).last_hidden_state, merged.model(ids).last_hidden_state, atol=1e-5)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert not torch.allclose(core(ids).last_hidden_state, plain.model(ids).last_hidden_state, atol=1e-2)
    save_core(core, tmp_path / "core")
    again = load_core(tmp_path / "core", base, adapter=adapter)
    assert torch.equal(again(ids).last_hidden_state, core(ids).last_hidden_state)
    with pytest.raises(CheckpointError, match="there is none"):
        load_core(tmp_path / "core", base)
    (adapter / "positions.json").write_text("{}")
    with pytest.raises(CheckpointError, match="this one is"):
        load_core(tmp_path / "core", base, adapter=adapter)


def test_it_reads_what_python_documents(folder):
    task = build_task(short(folder, {"length": 16, "rows": 3, "texts": "pydoc"}))
    said = task.tokenizer.decode(torch.cat([task.held_out[0], task.dataset[0]["input_ids"][0]]))
    assert "".join(said.split()) in "".join("".join(pydoc_topics()).split())
