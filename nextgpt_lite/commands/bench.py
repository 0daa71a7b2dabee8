"""``nextgpt-lite bench [NAME...] [--json]``: speed and memory, measured here and now."""

import argparse
import importlib
import json
import time
from collections.abc import Iterator
from typing import Any

from nextgpt_lite.bench import BENCHMARKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = "; ".join(f"{name}: {description}" for name, (_, description) in BENCHMARKS.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{known}. Default: all")
    parser.add_argument("--json", action="store_true", help="print one object, name to figures")


def run(arguments: argparse.Namespace) -> int:
    for name in arguments.names:
        if name not in BENCHMARKS:
            raise ValueError(f"unknown benchmark {name!r}: expected one of {', '.join(BENCHMARKS)}")
    results = {}
    for name in arguments.names or BENCHMARKS:
        results[name] = measure(name)
        if not arguments.json:
            rows = [(k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in flat(results[name])]
            width = max(len(key) for key, _ in rows)
            print("\n".join([name, *(f"  {key:{width}}  {value}" for key, value in rows)]), flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 0


def measure(name: str) -> dict[str, Any]:
    """A benchmark's figures, and the seconds that it took as a whole."""
    module, _ = BENCHMARKS[name]
    started = time.perf_counter()
    figures = importlib.import_module(module).run()
    return {**figures, "seconds_in_all": round(time.perf_counter() - started, 3)}


def flat(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested figures as lines: ``{"2048": {"ratio": 2}}`` -> ``("2048 ratio", 2)``."""
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}", value
