"""What benchmarks share: the time of a piece of work and the most memory that it held."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch on ``count`` CPU threads within it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each piece of work, the best of ``rounds``.

    The pieces take turns, so that whatever else runs on the machine slows all of them. Call each once before: the
    first call of a kernel costs more.
    """
    seconds = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes of tensors that ``work`` held at a time on the CPU, beyond what was there before.

    Every allocation is counted, temporary buffers of kernels included; unlike resident memory the figure is the same
    in every run.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    results: Any = getattr(profiler.profiler, "kineto_results")  # noqa: B009  # torch's type leaves it out
    events = [event for event in results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
