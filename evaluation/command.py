"""``nextgpt-lite evaluate SUITE... [--model M] [--data D] [--judge DIR] [--lengths N,N...] [--count N] [--seed N]
[--out DIR]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from evaluation import FULL_COUNTS, SUITES

ERRORS = (ValueError, OSError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    full = ", ".join(f"{name} {count}" for name, count in FULL_COUNTS.items())
    parser.add_argument("suites", nargs="+", metavar="SUITE", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--model", default="nano", help="nano or a model folder (default: nano)")
    parser.add_argument(
        "--data",
        type=Path,
        help="any_to_any, own_data: MANIFEST.jsonl, your own conversations; long_context: a folder of texts",
    )
    parser.add_argument(
        "--judge", type=Path, metavar="DIR", help="own_data: judges of what media show, e.g. runs/digits/judges"
    )
    parser.add_argument("--lengths", help="long_context: tokens of a row (default: 512,1024,2048,4096,8192)")
    parser.add_argument("--count", type=int, help=f"size of the run (default, the full suite: {full})")
    parser.add_argument("--seed", type=int, default=0, help="streams of scenes, words and noise (default: 0)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: outputs/SUITE-seedN)")


def run(args: argparse.Namespace) -> int:
    for name in args.suites:
        if name not in SUITES:
            raise ValueError(f"unknown suite {name!r}: expected one of {', '.join(SUITES)}")
    if args.count is not None and args.count < 1:
        raise ValueError(f"--count must be at least 1, not {args.count}")
    if args.seed < 0:
        raise ValueError(f"--seed must not be below 0, but is {args.seed}")
    suites = {"any_to_any": any_to_any, "own_data": own_data, "long_context": long_context}
    for name in args.suites:
        out = args.out or Path("outputs") / f"{name}-seed{args.seed}"
        out = out / name if len(args.suites) > 1 and args.out else out
        print(suites[name](args, args.count or FULL_COUNTS[name], out))
        print(f"\n{out / 'results.json'}\n{out / 'report.html'}")
    return 0


def any_to_any(args: argparse.Namespace, count: int, out: Path) -> str:
    """Run the suite of media, on Toybox or on a manifest; what it prints."""
    if args.data is not None or args.judge is not None:
        return own_data(args, count, out)
    refuse_lengths(args, "any_to_any")
    from evaluation.any_to_any import evaluate  # after the cheap checks: this and the model take seconds to import
    from evaluation.report import table_text
    from nextgpt_lite import AnyToAny
    from nextgpt_lite.threads import suit_threads

    model = suit_threads(AnyToAny.from_pretrained(args.model))
    return table_text(evaluate(model, count, args.seed, out, progress=Progress()))


def own_data(args: argparse.Namespace, count: int, out: Path) -> str:
    """Run the suite of media on a manifest; what it prints."""
    if args.data is None:
        raise ValueError("own_data and --judge need --data MANIFEST.jsonl")
    refuse_lengths(args, "own_data")
    check_manifest(args.data)
    from evaluation.judges import load_judges
    from evaluation.own_data import evaluate_own_data, own_data_text
    from nextgpt_lite import AnyToAny
    from nextgpt_lite.threads import suit_threads

    judges = load_judges(args.judge) if args.judge is not None else None
    model = suit_threads(AnyToAny.from_pretrained(args.model))
    return own_data_text(evaluate_own_data(model, args.data, count, args.seed, out, Progress(), judges))


def refuse_lengths(args: argparse.Namespace, suite: str) -> None:
    if args.lengths is not None:
        raise ValueError(f"--lengths {args.lengths} belongs to the suite long_context, not to {suite}")


def long_context(args: argparse.Namespace, count: int, out: Path) -> str:
    """Run the suite of long rows; what it prints."""
    if args.data is None:
        raise ValueError("long_context reads texts that the model was not trained on: give --data FOLDER")
    if args.judge is not None:
        raise ValueError(f"--judge {args.judge} belongs to the suite own_data, not to long_context")
    lengths = None if args.lengths is None else lengths_of(args.lengths)
    from evaluation.long_context import LENGTHS, evaluate
    from evaluation.long_context_report import table_text

    folder = Path(args.model)
    return table_text(evaluate(folder, args.data, lengths or LENGTHS, count, args.seed, out, progress=Progress()))


def lengths_of(text: str) -> list[int]:
    """Numbers between commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--lengths must be numbers of tokens between commas, not {text!r}") from None


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
