"""The engine on real, tiny tasks: it resumes bit for bit, freezes what it should, stops at a loss that is no number."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nextgpt_lite.cli import main
from tests.train.short_recipes import FILES, PICTURE, SOUND
from train.engine.checkpoints import checkpoints
from train.engine.ema import ExponentialMovingAverage
from train.engine.trainer import TaskTrainer
from train.recipe import NonFiniteLossError, RecipeError
from train.run import run_recipe
from train.task import build_task

ROOT = Path(__file__).parents[3]


def exported(folder):
    return load_file(folder / "audio_decoder/vae/diffusion_pytorch_model.safetensors")


def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(tmp_path):
    recipe_file, run_dir = tmp_path / "sound.yaml", tmp_path / "run"
    values = asdict(replace(SOUND, model=str(tmp_path / "killed")))
    recipe_file.write_text(yaml.safe_dump(values | {"betas": list(values["betas"])}))
    command = [sys.executable, "-m", "nextgpt_lite.cli", "train", str(recipe_file), "--out", str(run_dir)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while not (run_dir / "checkpoint-8").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()[-2000:]
    process.stderr.close()

    left = checkpoints(run_dir)
    assert left and int(left[-1].name.partition("-")[2]) < SOUND.steps
    assert all({file.name for file in folder.iterdir()} == FILES for folder in left)
    exported_early = [path for path in (tmp_path / "killed").iterdir() if path.suffix != ".lock"]
    assert not exported_early, "nothing is exported before the end"

    run_recipe(replace(SOUND, model=str(tmp_path / "killed")), run_dir, resume=True)
    run_recipe(replace(SOUND, model=str(tmp_path / "whole")), tmp_path / "other")
    resumed, whole = exported(tmp_path / "killed"), exported(tmp_path / "whole")
    assert resumed.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(resumed[name], whole[name])] == []
    record = json.loads((run_dir / "run.json").read_text())
    assert record["recipe"]["steps"] == SOUND.steps and record["figures"]
    assert len(checkpoints(run_dir)) == 2


def test_parts_of_rate_zero_do_not_move(tmp_path):
    task = build_task(PICTURE)
    before = {part: [p.detach().clone() for p in members] for part, members in task.parts().items()}
    TaskTrainer(task, PICTURE, tmp_path).train()
    moved = {
        part: [not torch.equal(old, new) for old, new in zip(before[part], members, strict=True)]
        for part, members in task.parts().items()
    }
    assert not any(moved["encoder"])
    assert all(moved["decoder"])


def test_a_folder_that_holds_a_run_is_not_trained_over_without_a_word(tmp_path):
    recipe = replace(PICTURE, model=str(tmp_path / "model"), checkpoint_every=1)
    first = run_recipe(recipe, tmp_path / "run")
    names = ["checkpoint-2", "checkpoint-3"]
    with pytest.raises(RecipeError, match="holds a run already: --resume goes on with it, --overwrite starts afresh"):
        run_recipe(recipe, tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run")] == names
    assert run_recipe(recipe, tmp_path / "run", overwrite=True) == first
    assert [path.name for path in checkpoints(tmp_path / "run")] == names


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_finished_run_that_is_resumed_trains_nothing_more(tmp_path, ema):
    recipe = replace(SOUND, steps=2, model=str(tmp_path / "model"), checkpoint_every=1, ema=ema)
    figures, weights = run_recipe(recipe, tmp_path / "run"), exported(tmp_path / "model")
    for _ in range(2):
        assert run_recipe(recipe, tmp_path / "run", resume=True) == figures
        again = exported(tmp_path / "model")
        assert [name for name in weights if not torch.equal(weights[name], again[name])] == []
        assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-1", "checkpoint-2"]


def test_the_command_asks_what_to_do_with_a_run_that_is_there(tmp_path, capsys):
    values = asdict(replace(PICTURE, model=str(tmp_path / "model"), steps=1))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values | {"betas": list(values["betas"])}))
    command = ["train", str(tmp_path / "a.yaml"), "--out"]
    (tmp_path / "run/checkpoint-1").mkdir(parents=True)
    assert main([*command, str(tmp_path / "run")]) == 2
    assert "--resume goes on with it, --overwrite starts afresh" in capsys.readouterr().err
    assert (tmp_path / "run/checkpoint-1").is_dir() and not (tmp_path / "model").exists()
    assert main([*command, " "]) == 2
    assert "--out has no value" in capsys.readouterr().err


def test_a_half_written_checkpoint_is_not_one(tmp_path):
    for name in ("checkpoint-2", "checkpoint-10", "writing-checkpoint-12"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-10"]


def test_a_loss_that_is_no_number_stops_and_leaves_its_batch(tmp_path):
    task = build_task(PICTURE)
    with torch.no_grad():
        task.model.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="step 0"):
        TaskTrainer(task, PICTURE, tmp_path).train()
    assert load_file(tmp_path / "non_finite_batch.safetensors")["pixels"].shape[:2] == (2, 3)
    assert checkpoints(tmp_path) == []


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_command_ends_with_the_sentence(tmp_path, capsys, accumulate):
    values = asdict(
        replace(PICTURE, learning_rates={"encoder": 0.0, "decoder": 1e38}, gradient_accumulation_steps=accumulate)
    )
    values |= {"betas": list(values["betas"]), "model": str(tmp_path / "model"), "warmup": 0.0, "max_grad_norm": 1e38}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
    assert main(["train", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert "the loss is not finite at step 1; its batch is in" in capsys.readouterr().err
    assert load_file(tmp_path / "run/non_finite_batch.safetensors")["pixels"].shape[0] == PICTURE.batch_size
    assert not (tmp_path / "model").exists() and not (tmp_path / "run/run.json").exists()


def test_losses_throughput_and_memory_are_logged(tmp_path):
    trainer = TaskTrainer(build_task(PICTURE), PICTURE, tmp_path)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 3
    assert {"edges", "kl", "samples_per_second", "peak_memory_gib"} <= logged[0].keys()


def test_a_bad_recipe_writes_nothing(tmp_path):
    recipe = replace(PICTURE, model=str(tmp_path / "model"), learning_rates={"encoder": 1e-3})
    with pytest.raises(RecipeError, match="no rate for part 'decoder'"):
        run_recipe(recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_the_running_average_follows_trained_weights_only(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].requires_grad_(False)
    average = ExponentialMovingAverage(model, 0.5)
    start = model[1].weight.detach().clone()
    with torch.no_grad():
        model[1].weight += 1.0
    average.update(model, step=100)
    torch.testing.assert_close(average.average["1.weight"], start + 0.5)
    assert average.average.keys() == {"1.weight", "1.bias"}
    with pytest.raises(ValueError, match="between 0 and 1"):
        ExponentialMovingAverage(model, 1.0)


def test_a_running_average_of_another_model_is_refused(tmp_path):
    from safetensors.torch import save_file

    average = ExponentialMovingAverage(torch.nn.Linear(2, 2), 0.5)
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "ema.safetensors")
    with pytest.raises(ValueError, match="'bias'"):
        average.load(tmp_path / "ema.safetensors")


def test_what_is_exported_is_the_average(tmp_path):
    recipe = replace(PICTURE, model=str(tmp_path / "model"), ema=0.5, learning_rates={"encoder": 1e-2, "decoder": 1e-2})
    run_recipe(recipe, tmp_path / "run")
    last = tmp_path / "run/checkpoint-3"
    average, trained = load_file(last / "ema.safetensors"), load_file(last / "model.safetensors")
    written = load_file(tmp_path / "model/image_decoder/vae/diffusion_pytorch_model.safetensors")
    name = "decoder.conv_in.weight"
    assert torch.equal(written[name], average[f"vae.{name}"].half())
    assert not torch.equal(written[name], trained[f"vae.{name}"].half())
