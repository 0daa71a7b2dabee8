"""A dry run tells parts, data, memory and time of a recipe, and leaves everything as it was."""

import re
import shutil
from dataclasses import replace

import pytest
import torch

from nextgpt_lite.cli import main
from tests.train.short_recipes import PICTURE, stage
from train import dry_run as dry
from train.dry_run import dry_run, fixed_bytes, lora_targets
from train.recipe import RecipeError
from train.task import build_task, trainable_groups

FROZEN = {"language_model", "input_projection", "bind_network", "gated_prompts"}


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("stages") / "model")


def contents(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def report(folder, tmp_path, monkeypatch):
    """Of stage 2 on the tiny model."""
    monkeypatch.chdir(tmp_path)
    before = contents(folder)
    text = dry_run(stage("decoding_alignment", folder, gradient_accumulation_steps=2, ema=0.9))
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] in ([], [".cache"]), "no folder of a run"
    return text


def test_a_stage_is_told(report, folder, tmp_path, monkeypatch):
    task = build_task(stage("decoding_alignment", folder))
    for name, parameters in task.parts().items():
        [line] = re.findall(rf"^  {name} +(\S+) +(\d+) +([\d,]+) +([\d.]+)%$", report, flags=re.MULTILINE)
        assert int(line[1]) == len(parameters)
        assert int(line[2].replace(",", "")) == sum(parameter.numel() for parameter in parameters)
        assert (line[0] == "frozen") == (
            name in {"language_model", "input_projection", "bind_network", "gated_prompts"}
        )
    assert "LoRA on q_proj (2), up_proj (2), v_proj (2)" in report
    assert f"BinnedRows: {len(task.dataset)} items" in report and "toybox: 20 dialogues (generated)" in report
    assert f"4 steps of 1 x 2 items a process, {8 / len(task.dataset):.2f} epochs" in report
    assert re.search(r"memory: [\d.]+ MiB a process: weights .*activations \(measured\) [\d.]+ MiB", report)
    assert re.search(r"time: 0 min \d\d s \([\d.e-]+ s a step, from 3 batches on 1 CPU thread", report)


def test_memory_is_the_sum_of_what_training_holds():
    model = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.Linear(10, 10))
    model[0].requires_grad_(False)
    sizes = fixed_bytes(model, replace(PICTURE, ema=0.5))
    assert sizes == {"weights": 880, "gradients": 440, "optimiser": 880, "running average": 440}
    assert not lora_targets(model)


def test_what_autograd_keeps_is_counted_once_and_without_weights():
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    saved, x = dry._SavedTensors(model), torch.zeros(5, 8)
    with saved.count():
        model(x).sum()
    assert saved.most == (5 * 8 + 5 * 8) * 4  # the input, and what tanh gives, which two layers keep


def test_a_machine_that_is_too_small_gets_an_estimate(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry, "free_bytes", lambda: 1000)
    text = dry_run(stage("encoding_alignment", folder))
    assert "activations (estimated)" in text and "not measured, this machine is too small" in text


def test_the_command_prints_and_writes_nothing(tmp_path, capsys):
    recipe = tmp_path / "a.yaml"
    recipe.write_text(
        f"task: image_vae\nmodel: {tmp_path / 'model'}\nsteps: 3\nbatch_size: 2\nbf16: false\ntracker: none\n"
        "learning_rates: {encoder: 1.0e-3, decoder: 0}\n"
        "task_settings: {block_out_channels: [4, 4], latent_channels: 2, pictures: 8, held_out: 2}\n"
    )
    before = contents(tmp_path)
    assert main(["train", str(recipe), "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "decoder" in capsys.readouterr().out
    assert contents(tmp_path) == before and not (tmp_path / "run").exists()
    assert main(["train", str(recipe), "learning_rates.encodr=1", "--dry-run"]) == 2
    assert "unknown part 'encodr': did you mean 'encoder'?" in capsys.readouterr().err


def test_a_recipe_that_cannot_run_is_refused():
    task = build_task(PICTURE)
    with pytest.raises(RecipeError, match="no rate for part"):
        trainable_groups(task, replace(PICTURE, learning_rates={"encoder": 1.0}))
    with pytest.raises(RecipeError, match="no rate for part"):
        dry_run(replace(PICTURE, learning_rates={"encoder": 1.0}))
