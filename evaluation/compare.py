"""``nextgpt-lite compare RUN RUN...``: what differs between runs of the same cases, case by case.

    nextgpt-lite compare outputs/before outputs/after --out outputs/compared

Each run is compared with the first: the share right by group and attribute, the paired difference with its 95 %
interval, and the chance of one as great were they alike (McNemar's exact test). ``compare.html`` shows the samples that
one run alone got right side by side.
"""

import argparse
import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.atomic import write_json, write_text
from data.run_files import read_lines
from evaluation.report import render
from evaluation.samples import SAMPLES, VERDICTS, Samples, check_same, read_plan
from evaluation.statistics import Paired, Tally, paired

#: In what runs of the same cases may differ.
OWN = ("model", "total", "device", "versions")
FORMATS = ("text", "csv", "latex")
MOST_SHOWN = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders that evaluate wrote, two or more")
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the table that is printed")
    parser.add_argument("--out", type=Path, help="folder of compare.json and compare.html (default: none)")


def run(args: argparse.Namespace) -> int:
    if len(args.runs) < 2:
        raise ValueError("give two runs or more to compare")
    runs = [Judged.read(folder) for folder in args.runs]
    for other in runs[1:]:
        what = f"{other.folder} and {runs[0].folder} are runs of other cases, which cannot be compared"
        check_same(other.samples.plan, runs[0].samples.plan, what, without=OWN)
    rows = [row for other in runs[1:] for row in compared(runs[0], other)]
    print(render_table(rows, args.format))
    if args.out is not None:
        flips = [flip for other in runs[1:] for flip in flipped(runs[0], other)]
        write_json(args.out / "compare.json", [row.entry for row in rows], ensure_ascii=False)
        page = render("compare.html", rows=rows, flips=flips[:MOST_SHOWN], all=len(flips))
        write_text(args.out / "compare.html", page)
        print(f"\n{args.out / 'compare.html'}")
    return 0


@dataclass
class Judged:
    """A run with its verdicts, one a case."""

    folder: Path
    samples: Samples
    verdicts: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "Judged":
        """ValueError for a folder without a run, and for one whose run has not been judged."""
        samples, verdicts = Samples(folder, read_plan(folder)), list(read_lines(folder / VERDICTS))
        if not verdicts:
            raise ValueError(f"{folder} has no {VERDICTS}: give the same evaluate command again, which ends the run")
        return cls(folder, samples, verdicts)

    def columns(self) -> dict[str, list[bool | None]]:
        """group.attribute -> whether it is right, case by case; None where a case does not ask for it."""
        columns: dict[str, list[bool | None]] = defaultdict(lambda: [None] * len(self.verdicts))
        for number, verdict in enumerate(self.verdicts):
            for name, right in verdict["right"].items():
                columns[f"{verdict['group']}.{name}"][number] = right
        return columns


@dataclass(frozen=True)
class Row:
    """A group's attribute in two runs."""

    name: str
    run: str
    against: str
    right: Tally
    before: Tally
    difference: Paired

    @property
    def entry(self) -> dict[str, Any]:
        known = {"name": self.name, "run": self.run, "against": self.against, "n": self.right.total}
        return {**known, "share": self.right.share, "before": self.before.share, **self.difference._asdict()}


def compared(before: Judged, after: Judged) -> Iterator[Row]:
    """What both runs judge, in the order of the first."""
    theirs, ours = before.columns(), after.columns()
    for name in theirs:
        pairs = [(mine, other) for mine, other in zip(ours.get(name, []), theirs[name], strict=False)
                 if mine is not None and other is not None]  # fmt: skip
        if pairs:
            mine, other = ([bool(value) for value in column] for column in zip(*pairs, strict=True))
            tallies = Tally.of(mine), Tally.of(other)
            yield Row(name, after.folder.name, before.folder.name, *tallies, paired(mine, other))


def flipped(before: Judged, after: Judged) -> Iterator[dict[str, Any]]:
    """The cases of which one run alone got everything right, with what was asked and both replies."""
    asked = {entry["case"]: entry["asked"] for entry in read_lines(after.folder / SAMPLES)}
    for number, (old, new) in enumerate(zip(before.verdicts, after.verdicts, strict=False)):
        was, now = all(old["right"].values()), all(new["right"].values())
        if was != now:
            replies = [run.samples.replies(number) or [] for run in (before, after)]
            yield {
                "group": old["group"],
                "asked": asked.get(number, []),
                "gained": now,
                "sides": [
                    {
                        "run": run.folder.name,
                        "messages": [reply.as_message() for reply in own],
                        "missed": [name for name, right in verdict["right"].items() if not right],
                    }
                    for run, own, verdict in zip((before, after), replies, (old, new), strict=True)
                ],
            }


def render_table(rows: Sequence[Row], form: str) -> str:
    """The rows as text, as CSV, or as a LaTeX table."""
    if form == "text":
        return render("compare.txt", rows=rows).rstrip()
    if form == "latex":
        return render("compare.tex.txt", rows=rows).rstrip()
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0].entry if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.entry for row in rows)
    return written.getvalue().rstrip()
