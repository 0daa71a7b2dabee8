"""``make nano``: the build ``train/builds/nano.yaml`` on Toybox, put into the place of the embedded model.

    python -m train.nano [--jobs 2] [--only RUN ...] [--assemble] [--times]

Its runs lie in ``runs``, what they make in ``runs/nano``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from train.build import add_build_arguments, print_times, read_build, train_chosen
from train.recipe import RecipeError

BUILD = Path(__file__).parent / "builds" / "nano.yaml"
RUNS = Path("runs")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.nano", description="Train the embedded model from nothing.")
    add_build_arguments(parser)
    args = parser.parse_args()
    try:
        build = read_build(BUILD, RUNS, RUNS / "nano")
        if args.times:
            print_times(build)
        elif train_chosen(build, args):
            from nextgpt_lite.checkpoint import WEIGHTS
            from train.assemble import install

            install(build.model, WEIGHTS / "nano", build.cache, build.candidates)
            print_times(build)
    except RecipeError as error:
        print(f"train.nano: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
