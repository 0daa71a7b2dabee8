"""Blocks are compiled in place: nothing is renamed, the same is learnt, and a missing compiler is told."""

import json
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.train.short_recipes import stage
from train.engine.speed import compiled_blocks, has_compiler
from train.recipe import RecipeError
from train.run import run_recipe


def headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


@pytest.fixture
def model():
    return nn.ModuleDict({
        "blocks": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)]),
        "unlike": nn.ModuleList([nn.Linear(3, 3), nn.ReLU()]),
        "single": nn.ModuleList([nn.Linear(3, 3)]),
    })  # fmt: skip


@pytest.mark.skipif(not headers(), reason="Python came without its headers")
@pytest.mark.parametrize("wanted", [True, "auto"])
def test_repeated_blocks_are_compiled_within_and_as_before_afterwards(model, monkeypatch, wanted):
    monkeypatch.setenv("CXX", "sh")  # to be there is all that is asked here: nothing runs
    names, limit = list(model.state_dict()), torch._dynamo.config.recompile_limit
    with compiled_blocks(model, wanted) as count:
        compiled = [name for name, module in model.named_modules() if module._compiled_call_impl]
        assert (count, compiled) == (2, ["blocks.0", "blocks.1"])
        assert list(model.state_dict()) == names
    assert not any(module._compiled_call_impl for module in model.modules())
    assert torch._dynamo.config.recompile_limit == limit
    with compiled_blocks(model, False) as count:
        assert count == 0 and not model["blocks"][0]._compiled_call_impl


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU needs no C++ compiler")
def test_without_a_compiler_it_is_refused(model, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not has_compiler()
    with (
        pytest.raises(RecipeError, match="torch_compile must be false or auto: there is no C\\+\\+ compiler"),
        compiled_blocks(model),
    ):
        pass
    with compiled_blocks(model, "auto") as count:
        assert count == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo's own look at its inputs
@pytest.mark.skipif(not has_compiler(), reason="there is no compiler")
def test_a_stage_learns_the_same_compiled(tiny_copy, tmp_path):
    """What rounds differently is let pass, and nothing else."""
    losses = {}
    for compiled in (False, True):
        recipe = stage("encoding_alignment", tiny_copy, torch_compile=compiled)
        run_recipe(recipe, tmp_path / str(compiled))
        state = json.loads((tmp_path / str(compiled) / "checkpoint-4/trainer_state.json").read_text())
        losses[compiled] = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses[True]) == 2
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)
