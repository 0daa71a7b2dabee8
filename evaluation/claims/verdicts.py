"""What the seeds of two runs say about a claim: paired differences, their interval, and a verdict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from evaluation.claims.experiments import Claim, Plan
from evaluation.statistics import MeanDifference, mean, mean_difference

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"


@dataclass(frozen=True)
class Judged:
    """A claim with its figures by seed, ``ours`` of its run and ``theirs`` of the other one."""

    name: str
    experiment: str
    claim: Claim
    seeds: list[int]
    ours: list[float]
    theirs: list[float]

    @property
    def difference(self) -> MeanDifference:
        """Of ours from theirs, seed by seed."""
        return mean_difference(self.ours, self.theirs)

    @property
    def verdict(self) -> str:
        found, sign = self.difference, 1 if self.claim.better == "higher" else -1
        low, high = sorted((sign * found.low, sign * found.high))
        return decide(low, high, self.claim.expect, self.claim.margin)

    def entry(self) -> dict[str, Any]:
        """For results.json and the report."""
        found = self.difference
        return {
            "name": self.name,
            "experiment": self.experiment,
            **asdict(self.claim),
            "seeds": self.seeds,
            "values": {"run": self.ours, "against": self.theirs},
            "means": {"run": mean(self.ours), "against": mean(self.theirs)},
            # One seed has no interval; JSON has no infinity.
            "difference": found.difference,
            "interval": [found.low, found.high] if len(self.seeds) > 1 else None,
            "verdict": self.verdict,
        }


def decide(low: float, high: float, expect: str, margin: float) -> str:
    """The verdict on an advantage whose 95 % interval is ``low`` to ``high``, positive where the claim is right.

    "better" is reproduced where the whole interval lies above 0 and reaches the margin, the least advantage that
    matters; it is not reproduced where the whole interval lies below the margin. "no_worse" is reproduced where the
    whole interval lies above minus the margin, and not where all of it lies below.
    """
    least = 0.0 if expect == "better" else -margin
    if expect == "better" and high < margin:
        return NOT_REPRODUCED
    if low > least:
        return REPRODUCED
    return NOT_REPRODUCED if high < least else UNDECIDED


def judge(plan: Plan, name: str, figures: Mapping[int, Mapping[str, Mapping[str, float]]]) -> Judged:
    """A claim by the figures of its runs, ``figures[seed][run][name]``. ValueError for a figure that is not there."""
    claim = plan.claims[name]
    values = []
    for run, names in ((claim.run, claim.figure), (claim.against, claim.against_figure or claim.figure)):
        for figure in names:
            if missing := [seed for seed, runs in figures.items() if figure not in runs[run]]:
                known = ", ".join(sorted(figures[missing[0]][run]))
                raise ValueError(f"claim {name}: the run {run} has no figure {figure!r}: it has {known}")
        values.append([fmean(runs[run][figure] for figure in names) for runs in figures.values()])
    return Judged(name, plan.name, claim, list(figures), *values)
