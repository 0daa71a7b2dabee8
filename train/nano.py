"""``make nano``: the build ``train/builds/nano.yaml`` on Toybox, put into the place of the embedded model.

    python -m train.nano [--jobs 2] [--only RUN ...] [--assemble] [--times]

Its runs lie in ``runs``, what they make in ``runs/nano``.
"""

import sys
from pathlib import Path

from train.build import main

BUILD = Path(__file__).parent / "builds" / "nano.yaml"
WEIGHTS = Path(__file__).parents[1] / "nextgpt_lite" / "weights" / "nano"
PLACES = ["--out", "runs/nano", "--runs", "runs", "--install", str(WEIGHTS)]

if __name__ == "__main__":
    sys.exit(main([str(BUILD), *PLACES, *sys.argv[1:]], prog="train.nano"))
