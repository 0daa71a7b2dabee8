"""``nextgpt-lite evaluate SUITE... [--model nano|DIR] [--data MANIFEST.jsonl] [--judge DIR] [--count N] [--seed N]
[--out DIR]``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from evaluation import SUITES

ERRORS = (ValueError,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suites", nargs="+", metavar="SUITE", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--model", default="nano", help="nano or a model folder (default: nano)")
    parser.add_argument(
        "--data", type=Path, metavar="MANIFEST.jsonl", help="your own conversations in place of Toybox's"
    )
    parser.add_argument(
        "--judge", type=Path, metavar="DIR", help="with --data: judges of what media show, e.g. runs/digits/judges"
    )
    parser.add_argument("--count", type=int, default=320, help="size of the run; 320 is the full suite (default)")
    parser.add_argument("--seed", type=int, default=0, help="streams of scenes, words and noise (default: 0)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: outputs/SUITE-seedN)")


def run(args: argparse.Namespace) -> int:
    for name in args.suites:
        if name not in SUITES:
            raise ValueError(f"unknown suite {name!r}: expected one of {', '.join(SUITES)}")
    if args.count < 1:
        raise ValueError(f"--count must be at least 1, not {args.count}")
    if args.seed < 0:
        raise ValueError(f"--seed must not be below 0, but is {args.seed}")
    if args.data is None and (args.judge is not None or "own_data" in args.suites):
        raise ValueError("own_data and --judge need --data MANIFEST.jsonl")
    if args.data is not None:
        check_manifest(args.data)
    from evaluation.report import table_text  # after the cheap checks: this and the model take seconds to import
    from nextgpt_lite import AnyToAny

    model = AnyToAny.from_pretrained(args.model)
    for name in args.suites:
        module, _, function = SUITES[name].partition(":")
        out = args.out or Path("outputs") / f"{name}-seed{args.seed}"
        out = out / name if len(args.suites) > 1 and args.out else out
        if args.data is None:
            suite = getattr(importlib.import_module(module), function)
            print(table_text(suite(model, args.count, args.seed, out, progress=Progress())))
        else:
            from evaluation.judges import load_judges
            from evaluation.own_data import evaluate_own_data, own_data_text

            judges = load_judges(args.judge) if args.judge is not None else None
            run_on = (model, args.data, args.count, args.seed, out, Progress(), judges)
            print(own_data_text(evaluate_own_data(*run_on)))
        print(f"\n{out / 'results.json'}\n{out / 'report.html'}")
    return 0


def check_manifest(path: Path) -> None:
    """Read every record once, so that a bad line is told before a model is loaded."""
    from data.manifest import read_manifest

    for _ in read_manifest(path):
        pass


class Progress:
    """A line on stderr for each stage of a suite: done, total, rate, time left."""

    def __init__(self) -> None:
        self.stage, self.started = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self.stage, self.started = stage, time.monotonic()
            print(file=sys.stderr)
        seconds = max(time.monotonic() - self.started, 1e-9)
        left = seconds / done * (total - done)
        line = f"\r{stage}: {done} of {total}, {done / seconds:.1f} a second, {left:.0f} s left  "
        print(line, end="" if done < total else "\n", file=sys.stderr, flush=True)
