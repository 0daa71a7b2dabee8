"""Micro-batches of different sizes give the loss and gradients of one batch; so does checkpointing."""

import shutil
from dataclasses import replace

import pytest
import torch

from tests.train.short_recipes import PICTURE, stage
from train.engine.loss_shares import shares, total_denominators
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.task import build_task, trainable_groups


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("stages") / "model")


@pytest.fixture(params=["encoding_alignment", "decoding_alignment"])
def task(request, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = stage(request.param, folder)
    built = build_task(recipe)
    trainable_groups(built, recipe)
    return built


def gradients(task, batches):
    """Gradients and loss of one step over ``batches``, as the engine weighs them."""
    task.model.zero_grad()
    totals = total_denominators(task, batches, torch.device("cpu")) if len(batches) > 1 else None
    total = 0.0
    for batch in batches:
        loss = task.model(**batch, **({"shares": shares(task, batch, totals, 1)} if totals else {}))["loss"]
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}


def assert_same(one, other):
    torch.testing.assert_close(torch.tensor(one[0]), torch.tensor(other[0]), rtol=1e-5, atol=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-3, atol=1e-6, msg=name)


def test_micro_batches_are_one_batch(task):
    rows = sorted((row for item in task.dataset for row in item), key=lambda row: len(row.ids))
    halves = [rows[:3], rows[3:10]]
    counts = [task.denominators(task.collate([half])) for half in halves]
    assert counts[0]["language"] != counts[1]["language"]
    whole = gradients(task, [task.collate([halves[0] + halves[1]])])
    assert_same(gradients(task, [task.collate([half]) for half in halves]), whole)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable.*:FutureWarning")
@pytest.mark.parametrize("name", ["activation", "gradient"])  # which transformers calls depends on its version
def test_checkpointing_gives_the_same_gradients_with_gates_open(task, name):
    with_media = [item for item in task.dataset if any(row.media for row in item)]
    batch = task.collate([with_media[0] if with_media else task.dataset[0]])
    with torch.no_grad():
        task.model.core.gated_prompts.media_gate.fill_(0.5)
    task.model.train()
    plain = gradients(task, [batch])
    getattr(task.model, f"{name}_checkpointing_enable")()
    calls = []
    layer = task.model.core.language_model.get_decoder().layers[0]
    handle = layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    again = gradients(task, [batch])
    handle.remove()
    assert len(calls) == 2, "the layer is computed a second time in the backward pass"
    assert_same(again, plain)


def test_a_model_without_layers_refuses_checkpointing(tmp_path):
    recipe = replace(PICTURE, gradient_checkpointing=True, model=str(tmp_path))
    with pytest.raises(RecipeError, match="gradient_checkpointing must be false"):
        TaskTrainer(build_task(recipe), recipe, tmp_path / "run")
