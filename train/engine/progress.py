"""What a run shows while it goes: steps, loss, tokens and samples a second, peak memory."""

import resource
import sys
import time
from typing import Any

import torch
from transformers import ProgressCallback

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
