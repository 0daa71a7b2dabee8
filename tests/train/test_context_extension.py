"""Stage 0 on the tiny model: what it trains and how it attends, and that the merged model equals the trained one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adapters import attention as gated_attention
from adapters.rope_scaling import context_length
from nextgpt_lite.cli import main
from train.recipe import RecipeError, read_recipe
from train.task import build_task
from train.trainer import run_recipe

RECIPE = Path(__file__).parents[2] / "train/recipes/context_extension.yaml"
LENGTH = 1000  # the tiny model knows 768 positions
SHORT = {"steps": 2, "accumulate": 1, "warmup": 0.0, "tracker": "none", "bf16": False, "threads": 1}


def short(folder, settings=None, **changes):
    settings = {"length": LENGTH, "rows": 2, "held_out": 1, **(settings or {})}
    return replace(read_recipe(RECIPE), model=str(folder), task_settings=settings, **SHORT | changes)


def test_it_trains_lora_norms_and_embeddings_and_merges(tiny_folder, tmp_path, capsys):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    recipe = short(folder)
    figures = run_recipe(recipe, tmp_path / "run")
    assert figures["perplexity"] > 1.0

    base, adapter, out = folder / "language_model", folder / "context_adapter", tmp_path / "long"
    assert main(["merge", str(base), str(adapter), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 1536 positions\n"
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    assert merged.config.rope_parameters["factor"] == 2.0 and context_length(merged.config) == 1536
    assert (out / "generation_config.json").is_file()
    old = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict()
    moved = {name for name, value in merged.state_dict().items() if not torch.equal(value, old[name])}
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    expected = {n for n in old if any(part in n for part in ("norm", "embed_tokens", *attention))}
    assert moved <= expected, "the rest is frozen"
    assert {n for n in expected if "embed" in n} <= moved


def test_the_merged_model_equals_the_trained_one(tiny_folder, tmp_path):
    from nextgpt_lite.merge import merge_adapter

    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    single = AutoModelForCausalLM.from_pretrained(folder / "language_model", dtype=torch.float32)
    single.save_pretrained(folder / "language_model")  # in the precision of training, so that both are comparable
    task = build_task(short(folder))
    torch.manual_seed(1)
    with torch.no_grad():
        for part in ("lora", "norms", "embeddings"):
            for parameter in task.parts()[part]:
                parameter.add_(0.05 * torch.randn_like(parameter))
    task.export(folder)
    out = merge_adapter(folder / "language_model", folder / "context_adapter", tmp_path / "long")
    merged = AutoModelForCausalLM.from_pretrained(out).eval()
    row = task.held_out[:1]
    with torch.no_grad():
        expected = task.model.eval().language_model(row).logits
        torch.testing.assert_close(merged(row).logits, expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_belongs_to_a_part(tiny_folder):
    task = build_task(short(tiny_folder))
    parts = task.parts()
    assert sum(map(len, parts.values())) == len(list(task.model.parameters()))
    layers = 2
    assert len(parts["norms"]) == 2 * layers + 1 and len(parts["embeddings"]) == 1
    assert len(parts["lora"]) == 4 * 2 * layers
    assert task.model.language_model.config._attn_implementation == gated_attention.NAME


@pytest.mark.parametrize("form", ["split", "wrap"])
def test_it_trains_in_groups_and_evaluates_densely(tiny_folder, form):
    task = build_task(short(tiny_folder, {"form": form, "length": 40, "group": 8}))
    batch = task.collate([task.dataset[0]])
    with torch.no_grad():
        in_groups = task.model.train()(**batch)["loss"]
        dense = task.model.eval()(**batch)["loss"]
        logits = task.model.language_model(batch["input_ids"]).logits
    expected = torch.nn.functional.cross_entropy(logits[0, :-1], batch["input_ids"][0, 1:])
    torch.testing.assert_close(dense, expected)
    assert not torch.isclose(in_groups, dense, rtol=1e-6)


def test_it_reads_texts_end_to_end(tiny_folder, tmp_path):
    (tmp_path / "a.txt").write_text("a red bell rings " * 40, encoding="utf-8")
    settings = {"length": 32, "rows": 2, "texts": [str(tmp_path / "a.txt")]}
    task = build_task(short(tiny_folder, settings))
    assert len(task.dataset) == 2 and task.held_out.shape == (1, 32)
    said = task.tokenizer.decode(torch.cat([task.held_out[0], task.dataset[0][0]]))
    assert said.startswith("a red bell rings a red bell")
    with pytest.raises(RecipeError, match="too few for 501 rows of 32"):
        build_task(short(tiny_folder, settings | {"rows": 500}))


def test_an_adapter_knows_its_positions(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    build_task(short(folder, {"scaling": "yarn"})).export(folder)
    stored = json.loads((folder / "context_adapter/positions.json").read_text())
    assert stored["max_position_embeddings"] == 1536 and stored["rope_parameters"]["rope_type"] == "yarn"
