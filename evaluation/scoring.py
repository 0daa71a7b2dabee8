"""What a reply got right: pure functions from replies to tallies, and from tallies to the figures of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

#: figure -> (least value, or the most where a time is meant; what a reader is told)
THRESHOLDS: dict[str, tuple[float, str]] = {
    "mean_thing": (0.95, "thing, mean over the 16 cells"),
    "min_thing": (0.90, "thing, worst cell"),
    "colour_image_to_image": (0.95, "colour, image to image"),
    "colour_text_to_image": (0.95, "colour, text to image"),
    "held_out_pairs": (0.85, "held-out thing-colour pairs, text to image, both right"),
    "motion": (0.90, "motion, text to video"),
    "edits": (0.85, "edits over two turns, both attributes right"),
    "routing_precision": (0.98, "routing precision: no media but those asked for"),
    "routing_recall": (0.98, "routing recall: all the media asked for"),
    "chinese_mean": (0.90, "Chinese, thing, mean over cells"),
    "points->text": (0.90, "thing, points to text"),
    "unknown_declined": (0.90, "media from outside the world declined"),
    "oracle.image": (0.995, "oracle of pictures on real renders"),
    "oracle.video": (0.995, "oracle of films on real renders"),
    "oracle.audio": (0.995, "oracle of sounds on real renders"),
    "seconds.cold_first_reply": (10.0, "first reply of a cold process, seconds"),
    "seconds.image": (1.0, "a picture once warm, seconds"),
    "seconds.audio": (1.0, "a sound once warm, seconds"),
    "seconds.video": (3.0, "a film once warm, seconds"),
}


@dataclass
class Tally:
    """How many of how many."""

    right: int = 0
    total: int = 0

    def add(self, right: bool) -> None:
        self.right += bool(right)
        self.total += 1

    @property
    def share(self) -> float | None:
        """Right over total; None where nothing was asked."""
        return self.right / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.total)


def wilson(right: int, total: int, deviations: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval for a share, by default at 95 %; (0, 1) where nothing was counted."""
    if not total:
        return 0.0, 1.0
    share, squared = right / total, deviations**2
    centre = (share + squared / (2 * total)) / (1 + squared / total)
    spread = deviations * ((share * (1 - share) + squared / (4 * total)) / total) ** 0.5 / (1 + squared / total)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def agreement(expected: dict, found: dict | None) -> dict[str, bool]:
    """For each expected attribute, whether it was found. ``found`` None: no such medium came, all wrong."""
    return {name: found is not None and found.get(name) == value for name, value in expected.items()}


def tally_attributes(answers: Iterable[dict[str, bool]]) -> dict[str, Tally]:
    """{attribute: tally} over the answers of :func:`agreement`."""
    tallies: dict[str, Tally] = {}
    for answer in answers:
        for name, right in answer.items():
            tallies.setdefault(name, Tally()).add(right)
    return tallies


def routing(pairs: Iterable[tuple[Iterable[str], Iterable[str]]]) -> tuple[Tally, Tally]:
    """(precision, recall) over (media asked for, media produced), each counted as often as it occurs.

    A medium that nobody asked for costs precision, one that did not come costs recall.
    """
    precision, recall = Tally(), Tally()
    for asked, produced in pairs:
        asked, produced = Counter(asked), Counter(produced)
        matched = (asked & produced).total()
        precision.right, precision.total = precision.right + matched, precision.total + produced.total()
        recall.right, recall.total = recall.right + matched, recall.total + asked.total()
    return precision, recall


def look_up(metrics: dict, figure: str) -> float | None:
    """A figure of the thresholds table in the metrics: "seconds.image", "points->text", "edits"."""
    if figure == "points->text":
        return metrics["matrix"].get(figure, {}).get("thing")
    room, _, name = figure.rpartition(".")
    return (metrics.get(room, {}) if room else metrics).get(name)


def verdicts(metrics: dict) -> list[tuple[str, float | None, float, bool | None]]:
    """(what, value, threshold, passed) for each row of the table; None where the figure was not measured."""
    rows = []
    for figure, (threshold, what) in THRESHOLDS.items():
        value = look_up(metrics, figure)
        below = figure.startswith("seconds.")
        passed = None if value is None else (value <= threshold if below else value >= threshold)
        rows.append((what, value, threshold, passed))
    return rows
