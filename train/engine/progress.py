"""What a run shows while it goes: steps, loss, tokens and samples a second, peak memory; a bar and a log of them."""

import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback, TrainerCallback

from data.run_files import RUN_LOG, append_lines
from train.engine.checkpoints import DiskError, disk_errors
from train.task import SampleReply

#: What the bar shows of what is logged, and how.
SHOWN = {
    "loss": "loss {:.4g}",
    "tokens_per_second": "{:.0f} tokens/s",
    "samples_per_second": "{:.1f} samples/s",
    "peak_memory_gib": "{:.2f} GiB",
}


class ThroughputBar(ProgressCallback):
    """A bar over the steps with the newest figures beside it; a line for each log where no one watches."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not sys.stderr.isatty():
            super().on_log(args, state, control, logs, **kwargs)
        if self.training_bar is not None and logs:
            shown = [form.format(logs[name]) for name, form in SHOWN.items() if name in logs]
            self.training_bar.set_postfix_str(", ".join(shown))


class RunLog(TrainerCallback):
    """``DIR/log.jsonl``: what was logged, as it is logged, for whoever watches the run. Each line has ``time`` (seconds
    since 1970), ``step``, and one thing more:

        start      recipe, steps of the whole run, processes; a run that is resumed starts again, at ``step``
        figures    losses, rates, validation_*; what is not finite is null
        replies    prompt, reply and expected of a few conversations that training never sees
        end        "finished", or why the run was stopped

    A run that was killed has no end. Lines after the step of a later start were trained again.
    """

    def __init__(self, run_dir: Path, recipe: dict[str, Any]) -> None:
        self.run_dir, self.recipe = run_dir, recipe
        self.step, self.started = 0, False

    def on_train_begin(self, args, state, control, **kwargs):
        if not state.is_world_process_zero:
            return
        self.started = True
        if state.global_step == 0:
            (self.run_dir / RUN_LOG).unlink(missing_ok=True)
        start = {"recipe": self.recipe, "steps": state.max_steps, "processes": args.world_size}
        self.step = state.global_step
        self._write(self.step, start=start)

    def on_step_end(self, args, state, control, **kwargs):
        self.step = state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.started and logs and "train_runtime" not in logs:  # which Trainer logs at the end, of the whole run
            figures = {name: value if math.isfinite(value) else None for name, value in logs.items()}
            self._write(state.global_step, figures=figures)

    def replies(self, step: int, replies: Sequence[SampleReply]) -> None:
        if self.started:
            self._write(step, replies=[asdict(each) for each in replies])

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Within it the run goes on; how it ended is written afterwards."""
        try:
            yield
        except BaseException as error:
            with suppress(DiskError):  # the disk may be why
                self._end(str(error) or type(error).__name__)
            raise
        self._end("finished")

    def _end(self, why: str) -> None:
        if self.started:
            self._write(self.step, end=why)

    def _write(self, step: int, **what: Any) -> None:
        with disk_errors("the log of the run", self.run_dir):
            self.run_dir.mkdir(parents=True, exist_ok=True)
            append_lines(self.run_dir / RUN_LOG, [{"time": round(time.time(), 1), "step": step, **what}])


class Meter:
    """Counts samples and tokens of this process and divides them by the time since the last rates."""

    def __init__(self) -> None:
        self.started, self.samples, self.tokens = time.monotonic(), 0, 0

    def count(self, batch: dict[str, Any], batch_size: int) -> None:
        """Add a batch: rows of ``input_ids`` where it has them, else ``batch_size`` samples."""
        ids = batch.get("input_ids")
        self.samples += batch_size if ids is None else len(ids)
        if "attention_mask" in batch:
            self.tokens += int(batch["attention_mask"].sum())
        elif ids is not None:  # padding is 0
            self.tokens += int((ids != 0).sum())

    def rates(self, samples: float, tokens: float) -> dict[str, float]:
        """Samples and, where there are any, tokens a second; starts counting anew."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        self.started, self.samples, self.tokens = time.monotonic(), 0, 0
        rates = {"samples_per_second": round(samples / seconds, 1)}
        return rates | ({"tokens_per_second": round(tokens / seconds, 1)} if tokens else {})


def peak_memory_gib() -> float:
    """Peak memory of this process in GiB: the GPU's where there is one, else resident memory."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
