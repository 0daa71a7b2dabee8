"""``nextgpt-lite evaluate SUITE... [--model M] [--data D] [--judge DIR] [--language-judge MODEL@URL] [--features NAME]
[--against M] [--lengths N,N...] [--count N] [--seed N] [--processes N] [--out DIR]``.

A run that was cut goes on where it was when the same command is given again.
"""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

from data.run_files import lock_held
from evaluation import LENGTHS, SUITES, Settings

#: Options that only some suites have (evaluation.SUITES says which).
OPTIONS = ("data", "judge", "language_judge", "features", "lengths", "against")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    full = ", ".join(f"{name} {suite.full_count}" for name, suite in SUITES.items())
    parser.add_argument("suites", nargs="+", metavar="SUITE", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--model", default="nano", help="nano or a model folder (default: nano)")
    parser.add_argument(
        "--data",
        type=Path,
        help="MANIFEST.jsonl, your own conversations or an imported dataset; long_context: a folder of texts",
    )
    parser.add_argument(
        "--judge", type=Path, metavar="DIR", help="own_data: judges of what media show, e.g. runs/digits/judges"
    )
    parser.add_argument("--language-judge", metavar="MODEL@URL", help="own_data: a language model that judges words")
    parser.add_argument(
        "--features",
        metavar="NAME",
        help="own_data, generation: descriptor, oracle, inception=FILE",
    )
    parser.add_argument("--against", metavar="MODEL", help="drawing: another model, compared caption by caption")
    lengths = ",".join(map(str, LENGTHS))
    parser.add_argument(
        "--lengths", help=f"long_context: tokens of a row (default: {lengths}); needles: media of a message"
    )
    parser.add_argument("--count", type=int, help=f"size of the run (default, the full suite: {full})")
    parser.add_argument("--seed", type=int, default=0, help="streams of scenes, words and noise (default: 0)")
    parser.add_argument("--processes", type=int, default=1, help="that answer its conversations side by side")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where DIR holds samples of a run")
    parser.add_argument("--part", type=_part, default=(0, 1), metavar="I/N", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder of the results (default: outputs/SUITE-seedN)")


def run(args: argparse.Namespace) -> int:
    for name in args.suites:
        if name not in SUITES:
            raise ValueError(f"unknown suite {name!r}: expected one of {', '.join(SUITES)}")
    if args.count is not None and args.count < 1:
        raise ValueError(f"--count must be at least 1, not {args.count}")
    if args.seed < 0:
        raise ValueError(f"--seed must not be below 0, but is {args.seed}")
    if args.processes < 1:
        raise ValueError(f"--processes must be at least 1, not {args.processes}")
    for name in args.suites:
        settings = settings_of(name, args)
        if args.overwrite:
            from evaluation.samples import remove_run  # imports the model, which --help should not wait for

            remove_run(settings.out)
        module, _, function = SUITES[suite_of(name, args)].run.partition(":")
        with lock_held(settings.out, shared=settings.is_part):
            if args.processes > 1:
                answer_in_parts(suite_of(name, args), settings, args.processes)
            print(getattr(importlib.import_module(module), function)(settings))
        if settings.is_part:
            continue
        print(f"\n{settings.out / 'results.json'}\n{settings.out / 'report.html'}")
    return 0


def suite_of(name: str, args: argparse.Namespace) -> str:
    """The suite that is run under a name: any_to_any on your own conversations is own_data."""
    return "own_data" if name == "any_to_any" and (args.data or args.judge) else name


def settings_of(name: str, args: argparse.Namespace) -> Settings:
    """The arguments for one of the suites. ValueError for options that it does not have."""
    suite = SUITES[suite_of(name, args)]
    for option in OPTIONS:
        value = getattr(args, option)
        if value is not None and option not in suite.options:
            known = ", ".join(other for other, its in SUITES.items() if option in its.options)
            raise ValueError(f"--{option.replace('_', '-')} {value} belongs to the suite {known}, not to {name}")
    try:
        lengths = suite.lengths if args.lengths is None else tuple(map(int, args.lengths.split(",")))
    except ValueError:
        raise ValueError(f"--lengths must be numbers of tokens between commas, not {args.lengths!r}") from None
    out = args.out or Path("outputs") / f"{name}-seed{args.seed}"
    return Settings(
        model=args.model,
        out=out / name if len(args.suites) > 1 and args.out else out,
        count=args.count or suite.full_count,
        seed=args.seed,
        data=args.data,
        judge=args.judge,
        language_judge=args.language_judge,
        features=args.features,
        against=args.against,
        lengths=lengths,
        part=args.part,
    )


def answer_in_parts(name: str, settings: Settings, count: int) -> None:
    """Have ``count`` processes answer a suite's conversations. ValueError where one fails; what is answered is kept."""
    if not SUITES[name].in_parts:
        known = ", ".join(other for other, suite in SUITES.items() if suite.in_parts)
        raise ValueError(f"--processes {count}: conversations of {name} have no parts; those of {known} have")
    given = {key: getattr(settings, key) for key in ("data", "judge", "language_judge", "features")}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in given.items() if value is not None]
    words += [f"--{key}={getattr(settings, key)}" for key in ("model", "out", "count", "seed")]
    if "lengths" in SUITES[name].options:
        words.append(f"--lengths={','.join(map(str, settings.lengths))}")
    command = [sys.executable, "-m", "nextgpt_lite.cli", "evaluate", name, *words]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    parts = [subprocess.Popen([*command, f"--part={number}/{count}"], env=environment) for number in range(count)]
    try:
        codes = [part.wait() for part in parts]
    finally:
        for part in parts:
            part.terminate()
    if any(codes):
        failed = sum(map(bool, codes))
        raise ValueError(f"{failed} of {count} processes failed: what was answered is kept in {settings.out}")


def _part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I below N")
    return int(number), int(count)
