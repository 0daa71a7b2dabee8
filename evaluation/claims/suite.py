"""All runs of the claims that are wanted, then verdicts and the report."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.claims.experiments import Plan
from evaluation.claims.runs import SeededRun
from evaluation.claims.verdicts import judge
from evaluation.report import write_report


def run_claims(wanted: Sequence[tuple[Plan, list[str]]], seeds: Sequence[int], out: Path) -> str:
    """Complete every run, write ``results.json`` and ``report.html``; the table to print.

    TrainingEnded where a training fails or is interrupted: what is complete stays.
    """
    figures: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
    for number, (total, run) in enumerate(_runs(wanted, seeds, out), 1):
        known = figures.setdefault(run.plan.name, {}).setdefault(run.seed, {})
        if run.figures() is None:
            print(f"[{number} of {total}] {run.plan.name}, seed {run.seed}: {run.name}", file=sys.stderr)
        known[run.name] = run.complete()
    judged = [judge(plan, name, figures[plan.name]) for plan, claims in wanted for name in claims]
    results: dict[str, Any] = {
        "suite": "claims",
        "seeds": list(seeds),
        "experiments": {plan.name: {"paper": plan.settings.paper, "task": plan.settings.task} for plan, _ in wanted},
        "claims": [each.entry() for each in judged],
        "figures": figures,
    }
    return write_report(out, "claims", results)


def _runs(wanted: Sequence[tuple[Plan, list[str]]], seeds: Sequence[int], out: Path) -> Iterator[tuple[int, SeededRun]]:
    """Every run that is needed, with how many there are: all of a seed before those of the next."""
    needed = [(plan, plan.needed(claims)) for plan, claims in wanted]
    total = len(seeds) * sum(len(names) for _, names in needed)
    for plan, names in needed:
        for seed in seeds:
            yield from ((total, SeededRun(plan, name, seed, out)) for name in names)
