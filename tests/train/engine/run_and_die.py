"""Runs that are killed at chosen moments, or whose disk fills up, each in a process of its own.

    python -m tests.train.engine.run_and_die FOLDER

Started by test_resume.py. Torch is imported once; every run is a fork of this process, which itself never trains.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import torch
import yaml

import train.engine.checkpoints
import train.run
from nextgpt_lite.cli import main
from train import TASKS
from train.engine.checkpoints import checkpoints
from train.engine.trainer import TaskTrainer
from train.recipe import Recipe

TASKS |= {"turns": "tests.train.engine.small_tasks:TurnsTask", "lines": "tests.train.engine.small_tasks:LinesTask"}
PAGE = 4096  # what a file takes of a disk in memory, at least
TURNS = Recipe(
    task="turns", steps=11, batch_size=2, learning_rates={"first": 1e-2, "second": 1e-2},
    gradient_accumulation_steps=2, ema=0.9, checkpoint_every=3, log_every=2, tracker="none", bf16=False,
)  # fmt: skip


def forked(work):
    """Run ``work`` in a fork; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code or 0)
    return os.waitpid(child, 0)[1]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_half_written(step):
    """In the middle of the optimiser's file of the second checkpoint."""
    save = torch.save

    def half(value, path, *args, **kwargs):
        save(value, path, *args, **kwargs)
        if f"checkpoint-{step}" in str(path) and str(path).endswith("optimizer.pt"):
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    torch.save = half


def die_before_rename(step):
    """When all is written aside and the name is yet to be given."""
    replace_file = os.replace
    os.replace = lambda old, new: die() if str(new).endswith(f"checkpoint-{step}") else replace_file(old, new)


def die_before_removal(step):
    """When the new checkpoint has its name and the oldest is yet to go."""
    remove = train.engine.checkpoints.remove

    def none_removed(path):
        if path.exists() and (path.parent / f"checkpoint-{step}").exists():
            die()
        remove(path)

    train.engine.checkpoints.remove = none_removed


def die_while_removing(step):
    """When the oldest checkpoint is half gone."""
    rmtree = shutil.rmtree

    def half(path, *args, **kwargs):
        if Path(path).exists() and (Path(path).parent / f"checkpoint-{step}").exists():
            (Path(path) / "model.safetensors").unlink()
            die()
        rmtree(path, *args, **kwargs)

    shutil.rmtree = half


def ask_to_end(signals):
    """A damage that sends these signals to the process itself, in the middle of a step."""

    def damage(step):
        train_step, waiting = TaskTrainer.training_step, list(signals)

        def asked(self, *args, **kwargs):
            while waiting and self.state.global_step == step:
                os.kill(os.getpid(), waiting.pop(0))
            return train_step(self, *args, **kwargs)

        TaskTrainer.training_step = asked

    return damage


def ask_while_building(step):
    """A damage that sends SIGTERM before there is a trainer."""
    build = train.run.build_task
    train.run.build_task = lambda recipe: os.kill(os.getpid(), signal.SIGTERM) or build(recipe)


def ask_while_exporting(step):
    """A damage that sends SIGINT when the component is written."""
    train.run.Run.export = lambda self, task: os.kill(os.getpid(), signal.SIGINT)


SIGNALS = {
    "sigterm": ask_to_end([signal.SIGTERM]),
    "sigint": ask_to_end([signal.SIGINT]),
    "twice": ask_to_end([signal.SIGINT, signal.SIGTERM]),
    "building": ask_while_building,
    "exporting": ask_while_exporting,
}
MOMENTS = {die_half_written: 6, die_before_rename: 6, die_before_removal: 9, die_while_removing: 9}


def fill_disk_by_limit(step):
    """No file of this process may grow beyond a kilobyte from the second checkpoint on."""
    save = TaskTrainer._save_checkpoint

    def limited(self, model, trial):
        if self.state.global_step >= step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        save(self, model, trial)

    TaskTrainer._save_checkpoint = limited


def recipe_file(recipe, file):
    """The recipe written to a file, in its own order: modules are built, and begin, in that of their settings."""
    file.write_text(yaml.safe_dump(recipe.written() | {"betas": list(recipe.betas)}, sort_keys=False))
    return file


def command_line(recipe, run_dir, file, *more):
    """``nextgpt-lite train`` in this process; its exit code."""
    return main(["train", str(recipe_file(recipe, file)), "--out", str(run_dir), *more])


def told(run_dir, model):
    """What a finished run left: names of checkpoints, the curve, a hash of the weights."""
    logs = json.loads((checkpoints(run_dir)[-1] / "trainer_state.json").read_text())["log_history"]
    timed = {"samples_per_second", "tokens_per_second", "peak_memory_gib"}
    return {
        "names": sorted(path.name for path in run_dir.iterdir()),
        "curve": [{key: value for key, value in entry.items() if key not in timed} for entry in logs],
        "weights": (model / "weights.safetensors").read_bytes().hex(),
    }


def whole(folder, name, recipe):
    """A run that nothing stops."""
    run_dir, model = folder / name, folder / f"{name}-model"
    recipe = replace(recipe, model=str(model))
    forked(lambda: command_line(recipe, run_dir, folder / f"{name}.yaml"))
    return told(run_dir, model)


def damaged_and_resumed(folder, name, recipe, damage, step):
    """A run damaged by ``damage``, then resumed."""
    run_dir, model = folder / name, folder / f"{name}-model"
    recipe = replace(recipe, model=str(model))

    def damaged():
        damage(step)
        return command_line(recipe, run_dir, folder / f"{name}.yaml")

    status = forked(damaged)
    folders = [path for path in run_dir.glob("*") if path.is_dir()]
    left = {path.name: sorted(file.name for file in path.iterdir()) for path in folders}
    forked(lambda: command_line(recipe, run_dir, folder / f"{name}.yaml", "--resume"))
    return {"status": status, "left": left} | told(run_dir, model)


def on_small_disk(folder, size):
    """A run whose folder is a disk of ``size`` bytes, which grows before it is resumed; None where none mounts."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*options, f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        return None
    try:
        (folder / "disk-model").mkdir()
        recipe, file = replace(TURNS, model=str(folder / "disk-model")), folder / "disk.yaml"
        status = forked(lambda: command_line(recipe, disk / "run", file))
        left = [path.name for path in (disk / "run").iterdir() if path.is_dir()]
        subprocess.run([*options, f"remount,size={100 * size}", "tmpfs", disk], check=True)
        forked(lambda: command_line(recipe, disk / "run", file, "--resume"))
        return {"status": status, "left": left} | told(disk / "run", folder / "disk-model")
    finally:
        subprocess.run(["umount", disk], check=True)


def main_of_runs(folder):
    folder = Path(folder)
    results = {}
    lines = folder / "lines.jsonl"
    generator = torch.Generator().manual_seed(0)
    lines.write_text(
        "\n".join(json.dumps({"x": torch.randn(6, generator=generator).tolist(), "y": i / 9}) for i in range(9))
    )
    stream = replace(TURNS, task="lines", task_settings={"files": [str(lines), str(lines)], "state": True})
    skipping = replace(stream, task_settings=stream.task_settings | {"state": False})
    for name, recipe in (("turns", TURNS), ("lines", stream), ("skipped_lines", skipping)):
        results[f"whole_{name}"] = whole(folder, f"whole_{name}", recipe)
    for moment, step in MOMENTS.items():
        results[moment.__name__] = damaged_and_resumed(folder, moment.__name__, TURNS, moment, step)
    for name, damage in SIGNALS.items():
        results[name] = damaged_and_resumed(folder, name, TURNS, damage, 4)
    results["lines"] = damaged_and_resumed(folder, "lines", stream, die_before_rename, 6)
    results["skipped_lines"] = damaged_and_resumed(folder, "skipped_lines", skipping, die_before_rename, 6)
    results["limit"] = damaged_and_resumed(folder, "limit", TURNS, fill_disk_by_limit, 6)
    pages = sum(-(-file.stat().st_size // PAGE) for file in (folder / "whole_turns/checkpoint-9").iterdir())
    results["disk"] = on_small_disk(folder, int(1.5 * pages * PAGE))
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main_of_runs(sys.argv[1])
