"""A build: every recipe of a model in order, each in a process of its own, and what they make put together.

    python -m train.build train/builds/digits.yaml --data digits/manifest.jsonl --out runs/digits
                          [--jobs 2] [--only RUN ...] [--assemble] [--times]

A build file names runs; a run is a recipe, what must be trained before it, and what it changes in the recipe:

    runs:
      encoder: {set: {steps: 900, task_settings: {patch: 8}}}
      encoding_alignment: {after: [encoder, language_model]}
      encoder_again: {recipe: encoder, after: [encoder], set: {task_settings: {start: encoder}}}

Every run resumes where it was interrupted; one whose run.json agrees with its recipe is not run again. ``--jobs``
processes run at a time, each on as many threads as its recipe says. With ``--data`` every run learns from that manifest
in place of Toybox.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from train.recipe import Recipe, RecipeError, nearest, read_recipe, recipe_from_mapping

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Run:
    """A recipe of a build: ``after`` are runs that must have ended, ``overrides`` are ``key=value``."""

    recipe: Path
    after: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Build:
    """The runs of a build file, in the order in which they start when several could.

    ``folder`` holds the run folders, ``model`` the model that they make.
    """

    runs: dict[str, Run]
    folder: Path
    model: Path
    data: Path | None = None
    cache: dict[str, Any] = field(default_factory=dict)
    candidates: dict[str, int] = field(default_factory=dict)

    def overrides(self, name: str) -> list[str]:
        """What the command line of a run says beside its recipe."""
        given = [f"model={json.dumps(str(self.model))}"]
        if self.data is not None:
            given.append(f"task_settings.data={json.dumps([{'path': str(self.data)}])}")
        return [*given, *self.runs[name].overrides]

    def recipe(self, name: str) -> Recipe:
        """The recipe of a run with its changes."""
        return read_recipe(self.runs[name].recipe, self.overrides(name))

    def finished(self, name: str) -> bool:
        """Whether a run of exactly this recipe has ended well; keys that came after the run have their defaults."""
        record = self.folder / name / "run.json"
        if not record.is_file():
            return False
        recorded = recipe_from_mapping(json.loads(record.read_text())["recipe"], str(record))
        return recorded == self.recipe(name)

    def start(self, name: str) -> subprocess.Popen:
        """One run in a process of its own; its output goes to NAME.log beside its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "nextgpt_lite.cli", "train", str(self.runs[name].recipe)]
        command += [*self.overrides(name), "--resume", "--out", str(self.folder / name)]
        with (self.folder / f"{name}.log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


def read_build(path: Path, folder: Path, model: Path, data: Path | None = None) -> Build:
    """The build of a YAML file. RecipeError for unknown keys, recipes and runs, and for runs that wait in a circle."""
    if not path.is_file():
        raise RecipeError(f"no build at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not isinstance(values.get("runs"), dict):
        raise RecipeError(f"{path} holds no mapping 'runs'")
    if unknown := set(values) - {"runs", "cache", "candidates"}:
        raise RecipeError(f"{path}: unknown key {min(unknown)!r}: expected runs, cache, candidates")
    runs = {name: _read_run(path, name, entry or {}, values["runs"]) for name, entry in values["runs"].items()}
    build = Build(runs, folder, model, data, values.get("cache") or {}, values.get("candidates") or {})
    _check_order(path, runs)
    for name in runs:
        build.recipe(name)
    return build


def _read_run(path: Path, name: str, entry: dict[str, Any], known: dict[str, Any]) -> Run:
    if unknown := set(entry) - {"recipe", "after", "set"}:
        raise RecipeError(f"{path}: run {name}: unknown key {min(unknown)!r}: expected recipe, after, set")
    for earlier in entry.get("after", []):
        if earlier not in known:
            raise RecipeError(f"{path}: run {name} is after {earlier!r}, which is no run{nearest(earlier, known)}")
    return Run(
        RECIPES / f"{entry.get('recipe', name)}.yaml", tuple(entry.get("after", [])), _flat(entry.get("set", {}))
    )


def _flat(changes: dict[str, Any]) -> tuple[str, ...]:
    """Changes as ``key=value``; those of a mapping of the recipe one by one."""
    pairs = []
    for key, value in changes.items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        pairs += [f"{name}={json.dumps(each)}" for name, each in inner.items()]
    return tuple(pairs)


def _check_order(path: Path, runs: dict[str, Run]) -> None:
    done: set[str] = set()
    while len(done) < len(runs):
        ready = [name for name, run in runs.items() if name not in done and done.issuperset(run.after)]
        if not ready:
            raise RecipeError(f"{path}: these runs wait for each other: {', '.join(sorted(set(runs) - done))}")
        done.update(ready)


def train_all(build: Build, names: list[str], jobs: int) -> list[str]:
    """Run recipes as processes, ``jobs`` at a time, each after what it needs. Returns those that failed."""
    waiting = [name for name in names if not build.finished(name)]
    running: dict[str, subprocess.Popen] = {}
    failed: list[str] = []
    while waiting or running:
        ready = [n for n in waiting if not any(e in waiting or e in running for e in build.runs[n].after)]
        for name in ready[: jobs - len(running)]:
            waiting.remove(name)
            running[name] = build.start(name)
            print(f"{time.strftime('%H:%M:%S')} {name} started", flush=True)
        time.sleep(0.5)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            code = running.pop(name).returncode
            print(f"{time.strftime('%H:%M:%S')} {name} {'failed' if code else 'done'}", flush=True)
            failed += [name] if code else []
        waiting = [] if failed else waiting
    return failed


def print_times(build: Build) -> None:
    """Minutes of every run."""
    total = 0.0
    for name in build.runs:
        path = build.folder / name / "run.json"
        if not path.is_file():
            print(f"{name:24} not run here")
            continue
        record = json.loads(path.read_text())
        total += record["seconds"]
        print(f"{name:24} {record['seconds'] / 60:6.1f} min on {record['threads']} thread(s)")
    print(f"{'all, one after another':24} {total / 60:6.1f} min")


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """What every build can be told."""
    parser.add_argument("--jobs", type=int, default=2, help="runs that are trained at a time (default: 2)")
    parser.add_argument("--only", nargs="*", metavar="RUN", help="train these and no others, assemble nothing")
    parser.add_argument("--assemble", action="store_true", help="train nothing, put together what is there")
    parser.add_argument("--times", action="store_true", help="print what the runs took and nothing else")


def train_chosen(build: Build, args: argparse.Namespace) -> bool:
    """Train what the arguments ask for; whether the model is to be put together now. RecipeError where a run fails."""
    for name in args.only or []:
        if name not in build.runs:
            raise RecipeError(f"unknown run {name!r}{nearest(name, build.runs)}")
    if args.jobs < 1:
        raise RecipeError(f"--jobs must be at least 1, not {args.jobs}")
    if not args.assemble:
        started = time.monotonic()
        failed = train_all(build, args.only or list(build.runs), args.jobs)
        if failed:
            raise RecipeError(f"failed: {', '.join(failed)}; see {build.folder / failed[0]}.log")
        print(f"trained in {(time.monotonic() - started) / 60:.1f} min, {args.jobs} at a time", flush=True)
    return not args.only


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train.build", description="Train a model, recipe by recipe.")
    parser.add_argument("build", type=Path, help="a build file, e.g. train/builds/digits.yaml")
    parser.add_argument("--data", type=Path, metavar="MANIFEST.jsonl", help="what to learn from (default: Toybox)")
    parser.add_argument("--out", type=Path, help="folder of the model (default: runs/NAME); its runs lie in OUT/runs")
    add_build_arguments(parser)
    args = parser.parse_args(arguments)
    out = args.out or Path("runs") / args.build.stem
    try:
        if args.data is not None and not args.data.is_file():
            raise RecipeError(f"there is no manifest {args.data}")
        build = read_build(args.build, out / "runs", out, args.data)
        if args.times:
            print_times(build)
        elif train_chosen(build, args):
            from train.assemble import finish  # torch takes seconds to import

            finish(out, args.build.stem, build.cache, build.candidates)
            print_times(build)
    except RecipeError as error:
        print(f"train.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
