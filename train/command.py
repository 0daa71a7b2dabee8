"""``nextgpt-lite train RECIPE.yaml [key=value]... [--resume] [--out DIR]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from train.recipe import NonFiniteLossError, RecipeError, read_recipe

ERRORS = (RecipeError, NonFiniteLossError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a YAML recipe, e.g. train/recipes/encoder.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="replace keys of the recipe, dotted for mappings"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of the run")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/NAME)")


def run(args: argparse.Namespace) -> int:
    recipe = read_recipe(args.recipe, args.overrides)
    from train.trainer import run_recipe  # the engine takes seconds to import; a bad recipe should not wait

    run_dir = args.out or Path("runs") / args.recipe.stem
    figures = run_recipe(recipe, run_dir, args.resume)
    for name, value in figures.items():
        print(f"{name:32} {value:.4f}")
    return 0
