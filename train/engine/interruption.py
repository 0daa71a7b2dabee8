"""Ctrl-C and SIGTERM: a run writes a checkpoint at the end of its step and ends; a second signal ends it at once."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from transformers import TrainerCallback

from train.engine.processes import sum_over_processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A launcher of several processes passes on what a terminal has sent them already: seconds in which that is one signal.
SAME_SIGNAL = 2.0


class Interrupted(KeyboardInterrupt):
    """A run was ended by a signal. ``code`` is the exit code that shells expect: 130 or 143."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 128 + number


class Interruption(TrainerCallback):
    """Within ``with``, notes the first signal while steps are trained, raises Interrupted at any other time."""

    def __init__(self) -> None:
        self.signal, self.noted = 0, 0.0
        self.training = False
        self.stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for what runs in its background
                try:
                    self._before[number] = signal.signal(number, self._note)
                except ValueError:  # only the main thread may
                    break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.signal:
            self.signal, self.noted = number, time.monotonic()
            if not self.training:
                raise Interrupted(number, f"ended by {signal.Signals(number).name}: --resume goes on with the run")
            if os.environ.get("RANK", "0") == "0":  # print() may be what was interrupted
                os.write(2, b"\na checkpoint is written at the end of this step; a second signal ends at once\n")
        elif "RANK" not in os.environ or time.monotonic() - self.noted > SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def on_train_begin(self, args, state, control, **kwargs):
        self.training = True

    def on_step_end(self, args, state, control, **kwargs):
        """Of several processes all stop where one was asked to."""
        [asked] = sum_over_processes([float(bool(self.signal))], args.device)
        if asked:
            self.stopped = control.should_save = control.should_training_stop = True

    def end(self, step: int, run_dir: Path, device: torch.device) -> None:
        """Call it after training, in every process. Interrupted where that was stopped after ``step`` steps."""
        self.training = False
        [asked] = sum_over_processes([float(self.stopped or bool(self.signal))], device)
        if asked:
            number = self.signal or signal.SIGTERM  # where another process was asked
            where = f"after step {step}, of which {run_dir} has a checkpoint: --resume goes on there"
            raise Interrupted(number, f"ended by {signal.Signals(number).name} {where}")
