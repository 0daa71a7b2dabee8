"""Several processes by ``accelerate launch``, over gloo on CPUs: they train what one process trains."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from safetensors.torch import load_file
from transformers import TrainingArguments
from transformers.integrations import deepspeed

from tests.train.short_recipes import STAGES, stage
from train.engine.checkpoints import checkpoints, step_of
from train.engine.integrity import damage_of
from train.run import run_recipe

ROOT = Path(__file__).parents[3]
CONFIGURATIONS = sorted((ROOT / "train/accelerate").glob("*.yaml"))
OUTPUTS = {"encoding_alignment": "core_encoding", "decoding_alignment": "core_decoding", "instruction_tuning": "core"}


def launch_command(recipe, run_dir, configuration, *more):
    """``accelerate launch`` of two processes on the recipe: the command and its environment."""
    file = run_dir.with_suffix(".yaml")
    values = recipe.written()  # in its own order: modules are built, and begin, in that of "conditions"
    file.write_text(yaml.safe_dump(values | {"betas": list(values["betas"])}, sort_keys=False))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--main_process_port", "0"]
    command += ["--config_file", str(ROOT / f"train/accelerate/{configuration}.yaml"), "-m", "nextgpt_lite.cli"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return [*command, "train", str(file), "--out", str(run_dir), *more], environment


def launched(recipe, run_dir, configuration, *more):
    """The launcher when it has ended."""
    command, environment = launch_command(recipe, run_dir, configuration, *more)
    return subprocess.run(command, cwd=run_dir.parent, env=environment, capture_output=True, text=True)


def losses(run_dir):
    """Loss of each step."""
    state = json.loads((checkpoints(run_dir)[-1] / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def weights(folder, name):
    return load_file(folder / OUTPUTS[name] / "model.safetensors")


def assert_close(one, other):
    """Within 1e-4 of the largest value of each tensor, or the last bit of half precision, in which they are stored."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        limit = max(1e-4, 2**-10 * float(value.abs().max()))
        assert float((value.float() - other[name].float()).abs().max()) <= limit, name


@pytest.fixture
def alone(tiny_folder, tmp_path, monkeypatch):
    """Trains a stage in one process that accumulates two batches: folder of the model, of the run, the recipe."""
    monkeypatch.chdir(tmp_path)

    def train(name):
        folder = shutil.copytree(tiny_folder, tmp_path / "alone")
        recipe = stage(name, folder, gradient_accumulation_steps=2, log_every=1, ema=0.9)
        run_recipe(recipe, tmp_path / "alone-run")
        return folder, tmp_path / "alone-run", recipe

    return train


MARKS = {"encoding_alignment": pytest.mark.slow, "instruction_tuning": pytest.mark.slow}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, ())) for name in STAGES],
)
def test_two_processes_are_one_that_accumulates_twice(name, alone, tiny_folder, tmp_path):
    folder, run_dir, recipe = alone(name)
    other = shutil.copytree(tiny_folder, tmp_path / "two")
    done = launched(replace(recipe, model=str(other), gradient_accumulation_steps=1), tmp_path / "two-run", "ddp")
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two-run") == pytest.approx(losses(run_dir), rel=1e-4)
    assert_close(weights(folder, name), weights(other, name))
    assert json.loads((tmp_path / "two-run/run.json").read_text())["figures"]
    assert len(list((checkpoints(tmp_path / "two-run")[-1]).glob("rng_state_*.pth"))) == 2


@pytest.mark.slow
def test_shards_train_save_and_resume(alone, tiny_folder, tmp_path):
    name = "instruction_tuning"
    folder, run_dir, recipe = alone(name)
    other = shutil.copytree(tiny_folder, tmp_path / "two")
    recipe = replace(recipe, model=str(other), gradient_accumulation_steps=1)
    done = launched(recipe, tmp_path / "two-run", "fsdp2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two-run") == pytest.approx(losses(run_dir), rel=1e-4)
    whole = weights(other, name)
    assert_close(weights(folder, name), whole)
    record = json.loads((checkpoints(tmp_path / "two-run")[-1] / "recipe.json").read_text())
    assert record["processes"] == 2

    shutil.rmtree(tmp_path / "two-run/checkpoint-4")
    done = launched(recipe, tmp_path / "two-run", "fsdp2", "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two-run") == pytest.approx(losses(run_dir), rel=1e-4)
    assert_close(whole, weights(other, name))

    shutil.rmtree(tmp_path / "two-run/checkpoint-4")  # what shards have left, one whole model takes up
    run_recipe(replace(recipe, gradient_accumulation_steps=2), tmp_path / "two-run", resume=True)
    assert losses(tmp_path / "two-run") == pytest.approx(losses(run_dir), rel=1e-4)
    assert_close(whole, weights(other, name))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes where Linux has them")
def test_workers_end_with_a_launcher_that_is_killed(tiny_copy, tmp_path):
    recipe = stage("encoding_alignment", tiny_copy, steps=10_000)
    with launcher(recipe, tmp_path / "run", "ddp") as process:
        wait_for(lambda: checkpoints(tmp_path / "run"))
        assert len(workers(tmp_path / "run")) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not workers(tmp_path / "run"), seconds=20)
    step = checkpoints(tmp_path / "run")[-1]
    assert damage_of(step) == "" and not list((tmp_path / "run").glob(f"checkpoint-{step_of(step) + 2}"))


@pytest.mark.slow
def test_processes_that_are_interrupted_leave_a_checkpoint_together(tiny_copy, tmp_path):
    recipe = stage("encoding_alignment", tiny_copy, steps=10_000, checkpoint_every=25)
    with launcher(recipe, tmp_path / "run", "ddp") as process:
        wait_for(lambda: checkpoints(tmp_path / "run"))
        process.send_signal(signal.SIGTERM)
        assert process.wait() != 0
    last = checkpoints(tmp_path / "run")[-1]
    assert damage_of(last) == "" and step_of(last) % 25, "of the step that it was in"
    assert len(list(last.glob("rng_state_*.pth"))) == 2


def launcher(recipe, run_dir, configuration, *more):
    """``accelerate launch`` of two processes on the recipe, while it runs."""
    command, environment = launch_command(recipe, run_dir, configuration, *more)
    with (run_dir.parent / "launcher.log").open("w") as log:
        return subprocess.Popen(command, cwd=run_dir.parent, env=environment, stdout=log, stderr=log)


def workers(run_dir):
    """Processes that train in a folder, the launcher apart."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(file.read_bytes().decode().split("\0"))
    return [line for line in lines if str(run_dir) in line and not any("accelerate" in word for word in line)]


def wait_for(condition, seconds=300):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_all_processes(tiny_copy, tmp_path):
    recipe = stage("encoding_alignment", tiny_copy, warmup=0.0, max_grad_norm=1e38)
    rates = {part: 1e38 if rate else 0.0 for part, rate in recipe.learning_rates.items()}
    done = launched(replace(recipe, learning_rates=rates), tmp_path / "run", "ddp")
    assert done.returncode != 0
    assert "is not finite at step" in done.stderr
    assert list((tmp_path / "run").glob("non_finite_batch_*.safetensors"))
    assert not (tmp_path / "run/run.json").exists()


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_accelerate_reads_every_shipped_configuration(path):
    assert load_config_from_file(str(path)).num_processes == 2
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "-m", "nextgpt_lite.cli"])
    arguments, _, _ = _validate_launch_command(arguments)
    wanted = {"ddp": "multi_gpu", "fsdp2": "use_fsdp", "zero2": "use_deepspeed", "zero3": "use_deepspeed"}[path.stem]
    assert [name for name in ("multi_gpu", "use_fsdp", "use_deepspeed") if getattr(arguments, name)] == [wanted]
    if path.stem == "fsdp2":
        assert arguments.fsdp_version == 2 and arguments.fsdp_state_dict_type == "FULL_STATE_DICT"
    if wanted == "use_deepspeed":
        assert (ROOT / arguments.deepspeed_config_file).is_file()


@pytest.fixture
def without_deepspeed(monkeypatch):
    """Transformers' class of its configurations, on accelerate's, from which it derives where the package is there."""
    monkeypatch.setattr(deepspeed, "dep_version_check", lambda name: None)
    yield type("Configuration", (deepspeed.HfTrainerDeepSpeedConfig, HfDeepSpeedConfig), {})
    deepspeed.unset_hf_deepspeed_config()


@pytest.mark.parametrize("number", [2, 3])
def test_transformers_fills_in_the_deepspeed_configurations(number, without_deepspeed, tmp_path):
    config = without_deepspeed(str(ROOT / f"train/accelerate/zero{number}.json"))
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=3, gradient_accumulation_steps=2, bf16=True, use_cpu=True
    )
    config.trainer_config_process(arguments)
    assert config.is_zero2() == (number == 2) and config.is_zero3() == (number == 3)
    filled = config.config
    assert filled["train_micro_batch_size_per_gpu"] == 3 and filled["gradient_accumulation_steps"] == 2
    assert filled["bf16"]["enabled"] is True and filled["gradient_clipping"] == 1.0
    assert not config.mismatches
    assert '"auto"' not in json.dumps(filled)
