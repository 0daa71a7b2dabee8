"""A training that takes its time, in a process of its own, for tests that watch it: it begins each step when a file
with the step's number, or a later one, is there.

    python -m tests.demo.runs.trained_slowly MODEL RUN STEPS_FOLDER [resume]
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.train.engine.run_and_die import TURNS
from train.engine.trainer import TaskTrainer
from train.run import run_recipe


def main(model: str, run_dir: str, steps: str, *more: str) -> None:
    step = TaskTrainer.training_step

    def waiting(self, *args, **kwargs):
        while max((int(path.name) for path in Path(steps).iterdir()), default=0) <= self.state.global_step:
            time.sleep(0.02)
        return step(self, *args, **kwargs)

    TaskTrainer.training_step = waiting
    run_recipe(replace(TURNS, model=model, log_every=1, checkpoint_every=2), run_dir, resume="resume" in more)


if __name__ == "__main__":
    main(*sys.argv[1:])
