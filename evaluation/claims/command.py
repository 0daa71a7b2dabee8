"""``nextgpt-lite claims [NAME...] [--seeds N] [--first-seed N] [--out DIR] [--list]``.

Trains the runs that the claims compare, each with every seed, and says what came out. What is complete is kept: given
again, the command goes on where it was cut.
"""

import argparse
import sys
from pathlib import Path

from evaluation import FIRST_TEST_SEED
from evaluation.claims.experiments import chosen

#: Seeds of a run whose figures are reported.
SEEDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="claims, or experiments (default: all)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many (default: {SEEDS})")
    help = f"(default: {FIRST_TEST_SEED}; those below it are for development)"
    parser.add_argument("--first-seed", type=int, default=FIRST_TEST_SEED, metavar="N", help=help)
    parser.add_argument("--out", type=Path, default=Path("outputs/claims"), help="default: outputs/claims")
    parser.add_argument("--list", action="store_true", help="list the claims; run nothing")


def run(args: argparse.Namespace) -> int:
    wanted = chosen(args.names)
    if args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, not {args.seeds}")
    if args.first_seed < 0:
        raise ValueError(f"--first-seed must not be below 0, but is {args.first_seed}")
    if args.list:
        for plan, claims in wanted:
            print(f"{plan.name}: {plan.settings.paper}")
            print("".join(f"    {name:34}{plan.claims[name].says}\n" for name in claims), end="")
        return 0
    from evaluation.claims.runs import TrainingEnded  # imports torch, for which --list and --help should not wait
    from evaluation.claims.suite import run_claims

    try:
        print(run_claims(wanted, range(args.first_seed, args.first_seed + args.seeds), args.out))
    except TrainingEnded as ended:
        print(f"nextgpt-lite claims: {ended}", file=sys.stderr)
        return ended.code
    print(f"\n{args.out / 'results.json'}\n{args.out / 'report.html'}")
    return 0
