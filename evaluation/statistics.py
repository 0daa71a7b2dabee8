"""Shares with their intervals, means, and how precisely a model answers with the media that were requested."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, inf
from statistics import fmean, stdev
from typing import Any, NamedTuple, Self

from nextgpt_lite import Reply


@dataclass
class Tally:
    """How many of how many."""

    right: int = 0
    total: int = 0

    @classmethod
    def of(cls, answers: Iterable[bool]) -> Self:
        """The tally of ``answers``, True where right."""
        tally = cls()
        for right in answers:
            tally.add(right)
        return tally

    def add(self, right: bool) -> None:
        self.right += bool(right)
        self.total += 1

    @property
    def share(self) -> float | None:
        """Right over total; None where nothing was counted."""
        return self.right / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval."""
        return wilson(self.right, self.total)


class Verdict(NamedTuple):
    """A metric beside its target; ``passed`` is None where it was not measured.

    Of a share there are its 95 % interval and of how many it is.
    """

    what: str
    value: float | None
    target: float
    passed: bool | None
    interval: tuple[float, float] | None = None
    n: int | None = None


def verdicts(metrics: Mapping[str, Any], targets: Mapping[str, tuple[float, str]]) -> list[Verdict]:
    """One for each target (the least value; what it is), in its order.

    A target's name is the path of its metric: "matrix.points->text.thing". Of seconds, and of what begins with "most.",
    it is the greatest value: "seconds.image", "most.general.perplexity_ratio".
    """
    return [_verdict(metrics, name, *target) for name, target in targets.items()]


def _verdict(metrics: Any, name: str, target: float, what: str) -> Verdict:
    value: Any = metrics
    at_most = name.startswith(("seconds.", "most."))
    for step in name.removeprefix("most.").split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    passed = None if value is None else (value <= target if at_most else value >= target)
    name = name.removeprefix("most.")
    return Verdict(what, value, target, passed, metrics.get("intervals", {}).get(name), metrics.get("n", {}).get(name))


def wilson(right: int, total: int, deviations: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval for a share, by default at 95 %; (0, 1) where nothing was counted."""
    if not total:
        return 0.0, 1.0
    share, squared = right / total, deviations**2
    centre = (share + squared / (2 * total)) / (1 + squared / total)
    spread = deviations * ((share * (1 - share) + squared / (4 * total)) / total) ** 0.5 / (1 + squared / total)
    return max(0.0, centre - spread), min(1.0, centre + spread)


#: Student's t at 97.5 %, for 1 to 30 degrees of freedom.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean of independent values by Student's t; None of one value, which has no deviation."""
    if len(values) < 2:
        return None
    freedom, middle = len(values) - 1, fmean(values)
    quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96 + 2.4 / freedom
    spread = quantile * stdev(values) / len(values) ** 0.5
    return middle - spread, middle + spread


@dataclass
class Figures:
    """Figures of a suite by name, with intervals and numbers of items beside, as reports read them."""

    values: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    n: dict[str, int] = field(default_factory=dict)

    def share(self, name: str, tally: Tally) -> None:
        """Of how many how many are so, with Wilson's interval; left out where nothing was counted."""
        if tally.total:
            self.values[name], self.intervals[name], self.n[name] = tally.share, tally.interval, tally.total

    def mean(self, name: str, values: Sequence[float]) -> None:
        """The mean of a score of each item; left out where there is none."""
        if values:
            self.value(name, sum(values) / len(values), len(values), mean_interval(values))

    def value(self, name: str, value: float | None, n: int, interval: tuple[float, float] | None = None) -> None:
        """A figure of ``n`` items together."""
        self.values[name], self.n[name] = value, n
        if interval is not None:
            self.intervals[name] = interval

    def metrics(self) -> dict[str, Any]:
        """As results.json holds them."""
        return {**self.values, "intervals": self.intervals, "n": self.n}


class Paired(NamedTuple):
    """How two answers to the same questions differ: the difference of their shares right with its 95 % interval, of how
    many one alone is right, and the chance of a difference as great were they alike (McNemar's exact test)."""

    difference: float
    low: float
    high: float
    gained: int
    lost: int
    p: float


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> Paired:
    """``ours`` against ``theirs``, question by question."""
    count = len(ours)
    gained = sum(mine and not other for mine, other in zip(ours, theirs, strict=True))
    lost = sum(other and not mine for mine, other in zip(ours, theirs, strict=True))
    difference, changed = (gained - lost) / max(count, 1), gained + lost
    spread = 1.96 * max(changed / max(count, 1) - difference**2, 0) ** 0.5 / max(count, 1) ** 0.5
    tail = sum(comb(changed, number) for number in range(min(gained, lost) + 1)) / 2**changed
    return Paired(difference, difference - spread, difference + spread, gained, lost, min(1.0, 2 * tail))


class MeanDifference(NamedTuple):
    """Mean of paired differences with its 95 % interval."""

    difference: float
    low: float
    high: float


def mean_difference(ours: Sequence[float], theirs: Sequence[float]) -> MeanDifference:
    """``ours`` minus ``theirs``, pair by pair; the interval is Student's t, unlimited where there is one pair."""
    differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    return MeanDifference(fmean(differences), *(mean_interval(differences) or (-inf, inf)))


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    listed = [float(value) for value in values]
    return sum(listed) / len(listed) if listed else None


def routing(pairs: Iterable[tuple[Iterable[str], Iterable[str]]]) -> tuple[Tally, Tally]:
    """(precision, recall) over pairs of (media requested, media generated), each counted as often as it occurs.

    A medium that was not requested lowers precision, one that is missing lowers recall.
    """
    precision, recall = Tally(), Tally()
    for requested, generated in pairs:
        wanted, made = Counter(requested), Counter(generated)
        matched = (wanted & made).total()
        precision.right, precision.total = precision.right + matched, precision.total + made.total()
        recall.right, recall.total = recall.right + matched, recall.total + wanted.total()
    return precision, recall


def axes(cells: Iterable[str]) -> tuple[list[str], list[str]]:
    """Sources and targets of cells "source->target", in the order in which they occur."""
    pairs = [cell.split("->") for cell in cells]
    return list(dict.fromkeys(source for source, _ in pairs)), list(dict.fromkeys(target for _, target in pairs))


def generated(reply: Reply) -> list[str]:
    """Modalities of the media in a reply."""
    return [medium.modality for medium in reply.media]


def flat(metrics: dict, prefix: str = "") -> list[tuple[str, float | None]]:
    """Nested metrics as ("seconds.image", 0.4) pairs; lists are left out."""
    pairs = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            pairs += flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple):
            pairs.append((prefix + name, value))
    return pairs
