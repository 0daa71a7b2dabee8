"""The suite ``drawing``: an image decoder alone, on captions of Toybox, with another decoder beside it.

    nextgpt-lite evaluate drawing --model runs/tuned --against nano --count 500 --seed 7

Both draw the same captions from the same noise, one image each without candidates, and judges name what they see.
So what a decoder's training changed is a paired difference: of how many images one alone is right.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from data import toybox
from decoders.base import Decoder
from evaluation import Settings
from evaluation.report import write_report
from evaluation.statistics import Tally, paired
from evaluation.toybox.cases import stream_seed
from evaluation.toybox.panel import identities, read
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import set_num_threads

#: Kind of caption -> which scenes it is of, and which attributes it names. Where it names no number, one is asked for.
CAPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "number": ("train", ("thing", "count")),
    "small": ("train", ("thing", "colour", "size")),
    "held_out_pair": ("held_out", ("thing", "colour")),
    "everything": ("train", ("thing", "colour", "count", "size", "place", "background")),
}
BATCH = 16
STREAM = 95


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn: a caption of a kind, what it asks for, and the seed of the noise."""

    kind: str
    asked: dict[str, Any]
    seed: int

    @property
    def caption(self) -> str:
        return toybox.tag_caption(self.asked)

    def right(self, seen: dict[str, Any]) -> dict[str, bool]:
        """Attribute -> whether the image shows it; a number is always asked for."""
        return {name: seen.get(name) == value for name, value in ({"count": 1} | self.asked).items()}


def run(settings: Settings) -> str:
    """Run the suite and write its files; the table to print."""
    drawings = plan(settings.count, settings.seed)
    models = {"model": settings.model} | ({"against": settings.against} if settings.against else {})
    seen: dict[str, Any] = {}
    identity: dict[str, str] = {}
    for name, folder in models.items():
        model = set_num_threads(AnyToAny.from_pretrained(folder))
        seen[name] = read("image", draw(model.decoders["image"], drawings, name))
        identity[name] = model.hash
    right = {name: [d.right(each) for d, each in zip(drawings, own, strict=True)] for name, own in seen.items()}
    metrics = {name: measure(drawings, answers) for name, answers in right.items()}
    results = {
        "suite": "drawing",
        "model": {"hash": identity["model"], "against": identity.get("against")},
        "data": {"hash": toybox.source_hash()},
        "judges": identities(),
        "seed": settings.seed,
        "count": settings.count,
        "metrics": metrics | ({"paired": compare(drawings, *right.values())} if settings.against else {}),
    }
    return write_report(settings.out, "drawing", results)


def plan(count: int, seed: int) -> list[Drawing]:
    """``count`` drawings, the kinds in turn; scenes and noise depend on the seed."""
    found, stream = [], stream_seed(seed, STREAM)
    for index in range(count):
        kind = list(CAPTIONS)[index % len(CAPTIONS)]
        pairs, names = CAPTIONS[kind]
        known = toybox.visible(toybox.sample(stream, index, pairs), "image")
        if kind == "small":
            known |= {"size": "small"}
        found.append(Drawing(kind, {name: known[name] for name in names}, stream + index))
    return found


def draw(decoder: Decoder, drawings: list[Drawing], name: str) -> list[np.ndarray]:
    """One image of each caption."""
    images: list[np.ndarray] = []
    with tqdm(total=len(drawings), desc=f"drawing, {name}", unit="image") as bar:
        for start in range(0, len(drawings), BATCH):
            batch = drawings[start : start + BATCH]
            conditions = decoder.encode_caption([each.caption for each in batch])
            images += decoder.decode(conditions, seeds=[each.seed for each in batch])
            bar.update(len(batch))
    return images


def measure(drawings: list[Drawing], right: list[dict[str, bool]]) -> dict[str, Any]:
    """Shares right by kind of caption and attribute, "all" = every attribute, with n and intervals."""
    found: dict[str, Any] = {}
    for kind, name, answers in _columns(drawings, right):
        tally = Tally.of(answers)
        found[f"{kind}.{name}"] = {"share": tally.share, "n": tally.total, "interval": tally.interval}
    return found


def compare(drawings: list[Drawing], ours: list[dict[str, bool]], theirs: list[dict[str, bool]]) -> dict[str, Any]:
    """Paired differences, by kind of caption and attribute."""
    both = zip(_columns(drawings, ours), _columns(drawings, theirs), strict=True)
    return {f"{kind}.{name}": paired(mine, other)._asdict() for (kind, name, mine), (_, _, other) in both}


def _columns(drawings: list[Drawing], right: list[dict[str, bool]]) -> list[tuple[str, str, list[bool]]]:
    """(kind, attribute, verdicts) for each attribute that captions of a kind ask for."""
    columns = []
    for kind in CAPTIONS:
        rows = [own for drawing, own in zip(drawings, right, strict=True) if drawing.kind == kind]
        for name in rows[0] if rows else ():
            columns.append((kind, name, [row[name] for row in rows]))
        columns.append((kind, "all", [all(row.values()) for row in rows]))
    return columns
