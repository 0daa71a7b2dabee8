"""Runs that are killed with -9 at random moments and resumed: each must end as the run that nothing stopped.

    python -m tests.train.engine.kill_at_random FOLDER [--kinds manifest shards ...] [--kills 20] [--seed 0]

Half of the kills fall anywhere in a run, half after its last checkpoint, in export and evaluation. Prints a line for
each kind, and ends with 1 where a run ended otherwise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from data.manifest import write_manifest
from data.streams.shards import write_shards
from data.toybox import write_toybox
from nextgpt_lite.cli import main
from tests.tiny_model import build_tiny_model
from tests.train.engine.run_and_die import recipe_file
from tests.train.short_recipes import stage

STEPS = 8
#: Name -> the stage, and its entries of ``data`` in a folder that :func:`write_data` has filled.
KINDS = {
    "toybox": ("encoding_alignment", []),
    "manifest": ("encoding_alignment", [{"path": "toys/manifest.jsonl", "embeddings": "steps"}]),
    "shards": ("encoding_alignment", [{"shards": "shards/*.tar", "held_out": "words/manifest.jsonl"}]),
    "dataset": ("encoding_alignment", [{"dataset": "rows", "held_out": "words/manifest.jsonl"}]),
    "mixture": (
        "encoding_alignment",
        [
            {"shards": "shards/*.tar", "weight": 3.0},
            {"dataset": "rows", "weight": 1.0},
            {"path": "words/manifest.jsonl", "weight": 1.0},
        ],
    ),
    "in_place": ("instruction_tuning", []),
}


def write_data(folder):
    import datasets

    manifest = write_toybox(folder / "toys", 24, 5, ("image",))
    write_shards(manifest, folder / "shards", per_shard=5)
    said = [[{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"bell {n}"}] for n in range(40)]
    (folder / "words").mkdir()
    write_manifest(folder / "words/manifest.jsonl", [{"messages": messages} for messages in said])
    datasets.disable_progress_bars()
    rows = [
        json.dumps([{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]) for messages in said
    ]
    datasets.Dataset.from_dict({"messages": rows}).save_to_disk(folder / "rows", num_shards=3)


def recipe_of(kind, model):
    name, data = KINDS[kind]
    recipe = stage(name, model, steps=STEPS, ema=0.9, checkpoint_every=2, log_every=3)
    settings = {"data": data, "word_weight": 0.0, "tokens_per_bin": 150, "held_out": 4, "dialogues": 30}
    settings |= {"start": "core", "word_weight": 1.0} if kind == "in_place" else {}
    return replace(recipe, task_settings=recipe.task_settings | settings)


def started(recipe, run_dir):
    """A fork that trains or resumes."""
    file = recipe_file(recipe, run_dir.with_suffix(".yaml"))
    child = os.fork()
    if child:
        return child
    log = os.open(run_dir.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = main(["train", str(file), "--out", str(run_dir), "--resume"])
    finally:
        os._exit(code)


def ended(child):
    """Its exit code, None while it runs."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait(child, until, seconds):
    """Wait until it has ended, or ``until()`` is so and ``seconds`` have passed since; its exit code or None."""
    since = None
    while (code := ended(child)) is None:
        since = time.monotonic() if since is None and until() else since
        if since is not None and time.monotonic() - since >= seconds:
            return None
        time.sleep(0.002)
    return code


def result(run_dir, model):
    """What a run has come to: the curve, figures, every exported tensor."""
    logs = json.loads((run_dir / f"checkpoint-{STEPS}/trainer_state.json").read_text())["log_history"]
    curve = [(entry["step"], entry["loss"]) for entry in logs if "loss" in entry]
    core = next(path for path in sorted(model.glob("core*"), key=lambda path: -path.stat().st_mtime_ns))
    figures = json.loads((run_dir / "run.json").read_text())["figures"]
    return curve, figures, core.name, (core / "model.safetensors").read_bytes()


def killed_run(recipe, base, run_dir, random_numbers, seconds, tail):
    """A run that is killed once to three times, then left alone; its result, and how many kills hit it."""
    model, kills = Path(recipe.model), 0
    shutil.copytree(base, model)
    for _ in range(random_numbers.choice((1, 2, 3))):
        late = random_numbers.random() < 0.5
        last = run_dir / f"checkpoint-{STEPS}"
        child = started(recipe, run_dir)
        code = wait(child, last.exists if late else lambda: True, random_numbers.uniform(0, tail if late else seconds))
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
        elif code:
            return f"ended with {code}", kills
    if not (run_dir / "run.json").is_file():
        child = started(recipe, run_dir)
        if code := wait(child, lambda: False, 0):
            return f"ended with {code}", kills
    return result(run_dir, model), kills


def killed_runs(folder, base, kind, wanted, seed):
    """(runs, kills, names of those that ended otherwise) until there were ``wanted`` kills."""
    recipe = replace(recipe_of(kind, "model"), model=str(folder / f"{kind}-whole"))
    shutil.copytree(base, recipe.model)
    whole_dir, begun = folder / f"{kind}-whole-run", time.monotonic()
    child = started(recipe, whole_dir)
    last = whole_dir / f"checkpoint-{STEPS}"
    assert wait(child, last.exists, 0) is None, whole_dir.with_suffix(".log").read_text()[-2000:]
    trained = time.monotonic()
    assert wait(child, lambda: False, 0) == 0
    seconds, tail = time.monotonic() - begun, time.monotonic() - trained
    expected = result(whole_dir, Path(recipe.model))
    numbers, runs, kills, wrong = random.Random(f"{kind} {seed}"), 0, 0, []
    while kills < wanted:
        name, runs = f"{kind}-{seed}-{runs}", runs + 1
        own = replace(recipe, model=str(folder / name))
        found, hit = killed_run(own, base, folder / f"{name}-run", numbers, seconds, tail)
        kills += hit
        if found != expected:
            wrong.append(name)
        else:
            shutil.rmtree(own.model)
            shutil.rmtree(folder / f"{name}-run")
    return runs, kills, wrong


def run(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.train.engine.kill_at_random")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    if not (folder / "rows").is_dir():
        build_tiny_model(folder / "base")
        write_data(folder)
    failed = False
    for kind in args.kinds:
        runs, kills, wrong = killed_runs(folder, folder / "base", kind, args.kills, args.seed)
        print(f"{kind}: {kills} kills in {runs} runs, {len(wrong)} ended otherwise {wrong}", flush=True)
        failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(run())
