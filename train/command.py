"""``nextgpt-lite train RECIPE.yaml [key=value]... [--resume|--overwrite] [--dry-run] [--out DIR]``."""

import argparse
import sys
from pathlib import Path

from train.engine.checkpoints import DiskError
from train.recipe import NonFiniteLossError, RecipeError, read_recipe

ERRORS = (RecipeError, NonFiniteLossError, DiskError)
WORDS = "overrides"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a YAML recipe, e.g. train/recipes/foundations/encoder.yaml")
    overrides = "override keys of the recipe; a dotted key reaches into a mapping"
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=overrides)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="resume from the newest checkpoint of the run")
    again.add_argument("--overwrite", action="store_true", help="start afresh where the folder of the run holds one")
    parser.add_argument("--dry-run", action="store_true", help="report parts, data, memory and time; do not train")
    parser.add_argument("--out", help="folder of the run (default: runs/NAME)")


def run(args: argparse.Namespace) -> int:
    recipe = read_recipe(args.recipe, args.overrides)
    if args.dry_run:
        from train.dry_run import dry_run

        print(dry_run(recipe))
        return 0
    from train.engine.interruption import Interrupted
    from train.run import run_recipe  # the engine takes seconds to import; a bad recipe should not wait

    if args.out is not None and not args.out.strip():
        raise RecipeError("--out has no value: expected the folder of the run")
    run_dir = Path(args.out) if args.out else Path("runs") / args.recipe.stem
    try:
        figures = run_recipe(recipe, run_dir, args.resume, args.overwrite)
    except Interrupted as signalled:
        print(f"nextgpt-lite train: {signalled}", file=sys.stderr)
        return signalled.code
    for name, value in figures.items():
        print(f"{name:32} {value:.4f}")
    return 0
