"""A build: every recipe of a model in order, each in a process of its own, and the model that they make.

    python -m train.build train/builds/digits.yaml --data digits/manifest.jsonl --out runs/digits
                          [--jobs 2] [--only RUN ...] [--assemble] [--times]

A build file names runs; a run is a recipe, what must be trained before it, and what it changes in the recipe:

    runs:
      encoder: {set: {steps: 900, task_settings: {patch: 8}}}
      encoding_alignment: {after: [encoder, language_model]}
      encoder_again: {recipe: encoder, after: [encoder], set: {task_settings: {start: encoder}}}

Every run resumes where it was interrupted; one whose run.json agrees with its recipe is not run again. ``--jobs``
processes run at a time, each on its recipe's threads. With ``--data`` they learn from that manifest, not from Toybox.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from data.atomic import atomic_folder, write_json
from data.parts import PartMissing, part_folder
from data.strict_yaml import Loader, read_yaml
from train.recipe import RECIPES, Recipe, read_recipe, shipped_recipe
from train.settings import RecipeError, nearest, read_settings, setting

CACHE_SEED = 41
#: Files of a component that are worth sharing.
HEAVY = (".safetensors", ".webp")


@dataclass(frozen=True)
class Run:
    """A recipe of a build. The keys of an entry of ``runs`` in a build file."""

    recipe: str = setting("", help="name of the recipe; empty = the name of the run")
    after: tuple[str, ...] = setting((), help="runs that must have ended")
    set: dict[str, Any] = setting({}, help="keys of the recipe that are changed; a mapping's one by one")

    def overrides(self) -> list[str]:
        """The changes as ``key=value``."""
        pairs: dict[str, Any] = {}
        for key, value in self.set.items():
            inner = value if isinstance(value, dict) else None
            pairs |= {key: value} if inner is None else {f"{key}.{name}": each for name, each in inner.items()}
        return [f"{name}={json.dumps(value)}" for name, value in pairs.items()]


@dataclass(frozen=True)
class Cache:
    """The visual cache of the model."""

    prototypes: int = setting(low=1)
    blend: float = setting(low=0, high=1)


@dataclass(frozen=True)
class BuildFile:
    """The keys of a build file."""

    runs: dict[str, Run | None] = setting(help="name -> run, in the order in which they start when several could")
    parts: dict[str, str] = setting({}, help="component -> the pretrained part that it is, see nextgpt_lite.parts")
    cache: Cache | None = setting(None, help="null = no visual cache")
    candidates: dict[str, int] = setting({}, low=1, help="modality -> how many are made of each medium")
    experts: list[str] = setting([], help="whose words the model was trained with, see nextgpt_lite.experts")
    preview: bool = setting(False, help="the model is not finished: it answers only where it is named")
    packed: list[str] = setting([], help="components that an installed copy has as int8, see nextgpt_lite.packing")


@dataclass(frozen=True)
class Build:
    """The runs of a build file. ``folder`` holds the run folders, ``model`` the model that they make."""

    file: BuildFile
    folder: Path
    model: Path
    data: Path | None = None

    @property
    def runs(self) -> dict[str, Run]:
        return {name: run or Run() for name, run in self.file.runs.items()}

    def path(self, name: str) -> Path:
        """The recipe's file of a run."""
        recipe = self.runs[name].recipe or name
        return shipped_recipe(recipe) or RECIPES / f"{recipe}.yaml"

    def overrides(self, name: str) -> list[str]:
        """The ``key=value`` of the command line of a run."""
        given = [f"model={json.dumps(str(self.model))}"]
        if self.data is not None:
            given.append(f"task_settings.data={json.dumps([{'path': str(self.data)}])}")
        return [*given, *self.runs[name].overrides()]

    def recipe(self, name: str) -> Recipe:
        """The recipe of a run with its changes."""
        return read_recipe(self.path(name), self.overrides(name))

    def finished(self, name: str) -> bool:
        """Whether a run of exactly this recipe has ended; keys that are newer than the run have their defaults."""
        record = self.folder / name / "run.json"
        if not record.is_file():
            return False
        recorded = read_settings(Recipe, json.loads(record.read_text())["recipe"], str(record))
        return recorded == self.recipe(name)

    def start(self, name: str) -> subprocess.Popen:
        """One run in a process of its own; its output goes to NAME.log beside its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "nextgpt_lite.cli", "train", str(self.path(name))]
        command += [*self.overrides(name), "--resume", "--out", str(self.folder / name)]
        with (self.folder / f"{name}.log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)


def read_build(path: Path, folder: Path, model: Path, data: Path | None = None) -> Build:
    """The build of a YAML file.

    RecipeError for unknown keys, values of a wrong type, unknown recipes and runs, and runs that wait for each other.
    """
    build = Build(read_settings(BuildFile, read_yaml(path, "build", Loader), str(path)), folder, model, data)
    for name, run in build.runs.items():
        for earlier in run.after:
            if earlier not in build.runs:
                found = nearest(earlier, build.runs)
                raise RecipeError(f"{path}: run {name} is after {earlier!r}, which is no run{found}")
    try:
        TopologicalSorter({name: run.after for name, run in build.runs.items()}).prepare()
    except CycleError as error:
        raise RecipeError(f"{path}: these runs wait for each other: {', '.join(sorted(set(error.args[1])))}") from error
    for name in build.runs:
        build.recipe(name)
    return build


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


def train_chosen(build: Build, only: list[str] | None, jobs: int) -> None:
    """Train the runs ``only``, or all. RecipeError where one fails."""
    for name in only or []:
        if name not in build.runs:
            raise RecipeError(f"unknown run {name!r}{nearest(name, build.runs)}")
    if jobs < 1:
        raise RecipeError(f"--jobs must be at least 1, not {jobs}")
    started = time.monotonic()
    link_parts(build.model, build.file.parts)
    failed = train_all(build, only or list(build.runs), jobs)
    if failed:
        raise RecipeError(f"failed: {', '.join(failed)}; see {build.folder / failed[0]}.log")
    print(f"trained in {(time.monotonic() - started) / 60:.1f} min, {jobs} at a time", flush=True)


def link_parts(model: Path, parts: dict[str, str]) -> None:
    """Put links to pretrained parts into a model's folder. RecipeError where one has not been fetched."""
    model.mkdir(parents=True, exist_ok=True)
    for component, part in parts.items():
        try:
            folder = part_folder(part)
        except PartMissing as error:
            raise RecipeError(str(error)) from None
        if not (model / component).exists():
            (model / component).symlink_to(folder, target_is_directory=True)


def assemble(build: Build, name: str, target: Path | None) -> None:
    """Make the model of what the runs have made: where it is, or as a copy in the place of ``target``, atomically."""
    from nextgpt_lite.checkpoint import component_names  # torch takes seconds to import

    if target is None:
        finish(build.model, name, build.file)
        return
    with atomic_folder(target) as folder:
        link_parts(folder, build.file.parts)
        for component in component_names():
            if (build.model / component).is_dir() and component not in build.file.parts:
                shutil.copytree(build.model / component, folder / component)
        finish(folder, target.name, build.file, packed=build.file.packed)
        for component in build.file.parts:
            (folder / component).unlink()  # the manifest names the part


def finish(folder: Path, name: str, file: BuildFile, packed: Sequence[str] = ()) -> None:
    """Make a model of the components in ``folder``, where they are: the decoders share a VAE, a manifest names all.

    Those named in ``packed`` become int8.
    """
    from nextgpt_lite.checkpoint import component_names, write_manifest
    from nextgpt_lite.packing import pack_folder

    if (folder / "video_decoder").is_dir():  # the image VAE may have been sharpened since the video decoder took a copy
        shutil.rmtree(folder / "video_decoder" / "vae", ignore_errors=True)
        shutil.copytree(folder / "image_decoder" / "vae", folder / "video_decoder" / "vae")
        if "video_decoder" in packed:
            share(folder / "video_decoder", folder / "image_decoder")
    for component in packed:
        if (folder / component).is_dir():
            pack_folder(folder / component)
    if file.cache is not None:
        build_cache(folder, file.cache)
    write_manifest(folder, name, file.candidates, preview=file.preview, experts=file.experts)
    files = [path for component in component_names() for path in (folder / component).rglob("*") if path.is_file()]
    print(f"{folder}: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


def share(folder: Path, other: Path) -> None:
    """Take out of a decoder's folder the weights that lie in ``other`` as well, and name them in SHARED."""
    from nextgpt_lite.packing import SHARED

    shared = {}
    for path in sorted(folder.rglob("*")):  # a folder comes before what is in it
        name = path.relative_to(folder)
        if not path.exists() or not (path.is_dir() or path.suffix in HEAVY):
            continue
        if _content(path) == _content(other / name):
            shared[name.as_posix()] = f"../{other.name}/{name.as_posix()}"
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(folder / SHARED, shared)


def _content(path: Path) -> dict[Path, bytes] | None:
    """The bytes of a file, or of each file of a folder; None where there is none."""
    if not path.exists():
        return None
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return {file.relative_to(path): file.read_bytes() for file in files}


def build_cache(folder: Path, settings: Cache) -> None:
    """The visual cache: image prototypes of Toybox scenes."""
    import torch

    from adapters.visual_cache import VisualCache
    from data.toybox import render, sample
    from encoders import load_encoder
    from nextgpt_lite.inspection.examples import toybox_source

    encoder = load_encoder(folder / "encoder")
    embedded = []
    for start in range(0, settings.prototypes, 64):
        indices = range(start, min(start + 64, settings.prototypes))
        images = [encoder.preprocess("image", render(sample(CACHE_SEED, index), "image")) for index in indices]
        with torch.no_grad():
            embedded.append(encoder.embed("image", torch.stack(images)))
    cache = VisualCache(torch.cat(embedded), blend=settings.blend, source=toybox_source(CACHE_SEED))
    cache.save(folder / "cache", str(encoder.identity))


def main(arguments: list[str] | None = None, prog: str = "train.build") -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description="Train a model, recipe by recipe.")
    parser.add_argument("build", type=Path, help="a build file, e.g. train/builds/digits.yaml")
    parser.add_argument("--data", type=Path, metavar="MANIFEST.jsonl", help="what to learn from (default: Toybox)")
    parser.add_argument("--out", type=Path, help="folder of the model (default: runs/NAME)")
    parser.add_argument("--runs", type=Path, help="folder of the runs (default: OUT/runs)")
    parser.add_argument("--install", type=Path, help="folder that a copy of the model replaces (default: none)")
    parser.add_argument("--jobs", type=int, default=2, help="runs that are trained at a time (default: 2)")
    parser.add_argument("--only", nargs="*", metavar="RUN", help="train these and no others, assemble nothing")
    parser.add_argument("--assemble", action="store_true", help="train nothing, make a model of what is there")
    parser.add_argument("--times", action="store_true", help="print what the runs took and nothing else")
    args = parser.parse_args(arguments)
    out = args.out or Path("runs") / args.build.stem
    try:
        if args.data is not None and not args.data.is_file():
            raise RecipeError(f"there is no manifest {args.data}")
        build = read_build(args.build, args.runs or out / "runs", out, args.data)
        if not args.times and not args.assemble:
            train_chosen(build, args.only, args.jobs)
        if not args.times and not args.only:
            assemble(build, args.build.stem, args.install)
        if args.times or not args.only:
            print_times(build)
    except RecipeError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
