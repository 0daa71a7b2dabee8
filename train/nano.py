"""``make nano``: train the embedded model from nothing, recipe by recipe, and put it in its place.

    python -m train.nano [--jobs 2] [--only RECIPE ...] [--assemble] [--times]

Every recipe is its own process and resumes where it was interrupted; one whose run.json agrees with the recipe
is not run again. ``--jobs`` processes run at a time, each on as many threads as its recipe says.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from nextgpt_lite.checkpoint import COMPONENTS, WEIGHTS, write_manifest
from train.recipe import read_recipe, recipe_from_mapping

RECIPES = Path(__file__).parent / "recipes"
RUNS = Path("runs")
BUILD = RUNS / "nano"
#: Recipe -> what must be trained before it. In the order in which they start when several could.
NEEDS: dict[str, tuple[str, ...]] = {
    "image_vae": (),
    "text_encoders": (),
    "language_model": (),
    "image_vae_colour": ("image_vae",),
    "image_vae_things": ("image_vae_colour",),
    "image_diffusion": ("image_vae_things", "text_encoders"),
    "encoder": (),
    "encoder_vision": ("encoder",),
    "encoding_alignment": ("encoder_vision", "language_model"),
    "audio_vae": (),
    "vocoder": ("audio_vae",),
    "audio_diffusion": ("vocoder", "text_encoders"),
    "image_diffusion_steady": ("image_diffusion",),
    "video_diffusion": ("image_diffusion",),
    "video_diffusion_motion": ("video_diffusion",),
    "oracle_image": (),
    "oracle_audio": (),
    "oracle_video": (),
    "decoding_alignment": ("encoding_alignment", "text_encoders"),
    "instruction_tuning": ("decoding_alignment",),
    "instruction_tuning_hard": ("instruction_tuning",),
}
CACHE_PROTOTYPES, CACHE_SEED, CACHE_BLEND = 2048, 41, 0.1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.nano", description="Train the embedded model from nothing.")
    parser.add_argument("--jobs", type=int, default=2, help="recipes that run at a time")
    parser.add_argument("--only", nargs="*", choices=list(NEEDS), help="train these and no others")
    parser.add_argument("--assemble", action="store_true", help="train nothing, put together what is there")
    parser.add_argument("--times", action="store_true", help="print what the runs took and nothing else")
    args = parser.parse_args()
    if args.times:
        print_times()
        return 0
    if not args.assemble:
        failed = train_all(args.only or list(NEEDS), args.jobs)
        if failed:
            print(f"failed: {', '.join(failed)}; see {RUNS}/NAME.log", file=sys.stderr)
            return 1
    if not args.only:
        assemble(BUILD, WEIGHTS / "nano")
        print_times()
    return 0


def train_all(names: list[str], jobs: int) -> list[str]:
    """Run recipes as processes, ``jobs`` at a time, each after what it needs. Returns those that failed."""
    waiting = [name for name in names if not finished(name)]
    running: dict[str, subprocess.Popen] = {}
    failed: list[str] = []
    while waiting or running:
        ready = [n for n in waiting if not any(need in waiting or need in running for need in NEEDS[n])]
        for name in ready[: jobs - len(running)]:
            waiting.remove(name)
            running[name] = start(name)
            print(f"{time.strftime('%H:%M:%S')} {name} started", flush=True)
        time.sleep(1.0)
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                print(
                    f"{time.strftime('%H:%M:%S')} {name} {'done' if not process.returncode else 'failed'}", flush=True
                )
                if process.returncode:
                    failed.append(name)
        if failed:
            waiting = []
    return failed


def start(name: str) -> subprocess.Popen:
    """One recipe in a process of its own; its output goes to runs/NAME.log."""
    RUNS.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nextgpt_lite.cli", "train", str(RECIPES / f"{name}.yaml"), "--resume"]
    with (RUNS / f"{name}.log").open("a") as log:
        return subprocess.Popen([*command, "--out", str(RUNS / name)], stdout=log, stderr=log)


def finished(name: str) -> bool:
    """Whether a run of exactly this recipe has ended well; keys that came after the run have their defaults."""
    record = RUNS / name / "run.json"
    if not record.is_file():
        return False
    recorded = recipe_from_mapping(json.loads(record.read_text())["recipe"], str(record))
    return recorded == read_recipe(RECIPES / f"{name}.yaml")


def assemble(build: Path, target: Path) -> None:
    """Copy the components beside each other, add the visual cache, write the manifest; aside and renamed."""
    aside = target.with_name(f"writing-{target.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in COMPONENTS:
        if (build / name).is_dir():
            shutil.copytree(build / name, aside / name)
    # The image VAE may have been sharpened after the video foundation took its copy: both decode the same latents.
    shutil.rmtree(aside / "video_decoder" / "vae")
    shutil.copytree(aside / "image_decoder" / "vae", aside / "video_decoder" / "vae")
    build_cache(aside)
    write_manifest(aside, target.name)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


@torch.no_grad()
def build_cache(folder: Path) -> None:
    """Image prototypes of fresh scenes for the visual cache."""
    from adapters.visual_cache import VisualCache
    from data.toybox import render, sample
    from encoders.media_encoder import MediaEncoder
    from nextgpt_lite.prototype_pictures import toybox_source

    encoder = MediaEncoder.from_pretrained(folder / "encoder").eval()
    prototypes = []
    for start in range(0, CACHE_PROTOTYPES, 64):
        pictures = [render(sample(CACHE_SEED, i), "image") for i in range(start, start + 64)]
        prototypes.append(encoder.embed("image", torch.stack([encoder.preprocess("image", p) for p in pictures])))
    cache = VisualCache(torch.cat(prototypes), blend=CACHE_BLEND, source=toybox_source(CACHE_SEED))
    cache.save(folder / "cache", encoder.identity)


def print_times() -> None:
    """Minutes and figures of every run."""
    total = 0.0
    for name in NEEDS:
        path = RUNS / name / "run.json"
        if not path.is_file():
            print(f"{name:22} not run here")
            continue
        record = json.loads(path.read_text())
        total += record["seconds"]
        print(f"{name:22} {record['seconds'] / 60:6.1f} min on {record['threads']} thread(s)")
    print(f"{'all, one after another':22} {total / 60:6.1f} min")


if __name__ == "__main__":
    sys.exit(main())
