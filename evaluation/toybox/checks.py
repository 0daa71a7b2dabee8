"""What stands beside the figures of any_to_any: how far its judges can be trusted, what the language model loses."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from data import toybox
from evaluation.statistics import Tally, paired
from evaluation.toybox.cases import GENERATED
from evaluation.toybox.conversations import Judgement, correct
from evaluation.toybox.oracles import scenes
from evaluation.toybox.panel import Reading, panel, read
from nextgpt_lite import AnyToAny

RENDERED_AT_ONCE = 32
#: By the least of these a judge is measured.
MAIN = ("thing", "colour", "motion", "pitch")


def judge_figures(seed: int, count: int) -> dict[str, dict[str, dict[str, float | None]]]:
    """{judge: {attribute: {"right": share of its answers, "answered": share of the renders, "n": of how many}}} on
    ``count`` renders of the world."""
    found: dict[str, dict[str, tuple[Tally, Tally]]] = {}
    for modality in panel():
        for scene, reading in read_renders(modality, seed, count):
            for judge, answer in reading.by_judge.items():
                own = found.setdefault(judge, defaultdict(lambda: (Tally(), Tally())))
                for name in toybox.CARRIES[modality]:
                    value = answer.get(name)
                    own[name][1].add(value is not None)
                    if value is not None:
                        own[name][0].add(value == getattr(scene, name))
    return {
        judge: {
            name: {"right": right.share, "answered": answered.share, "n": answered.total}
            for name, (right, answered) in own.items()
        }
        for judge, own in found.items()
    }


def least_right(figures: dict[str, dict[str, float | None]]) -> float | None:
    """Of a judge's main attributes that it names at all, the least share right."""
    shares = [figures[name]["right"] for name in MAIN if name in figures]
    return min((share for share in shares if share is not None), default=None)


def read_renders(modality: str, seed: int, count: int) -> Iterator[tuple[toybox.Scene, Reading]]:
    """The first ``count`` scenes of a stream, each with what the judges say of its render."""
    drawn = scenes(seed, count)
    for start in range(0, count, RENDERED_AT_ONCE):
        part = drawn[start : start + RENDERED_AT_ONCE]
        yield from zip(part, read(modality, [toybox.render(scene, modality) for scene in part]), strict=True)


def gold_caption_gaps(model: AnyToAny, judgements: list[Judgement]) -> dict[str, dict[str, float | int]]:
    """{modality: {"gap", "low", "high", "n"}}: thing accuracy of text -> medium minus that of the same decoder given
    the same request's own tag caption, with its 95 % interval.

    Both have the same noise, as many candidates, and the same words to choose among them. Below zero: what the language
    model's signal tokens lose on the way to the decoder.
    """
    gaps = {}
    for modality in tqdm(GENERATED, desc="gold captions", unit="modality"):
        members = [j for j in judgements if (j.case.group, j.case.cell) == ("matrix", f"text->{modality}")]
        expected = [j.case.expected_by_modality[modality] for j in members]
        words = [j.run.replies[-1].text for j in members]
        media = decode_captions(model, modality, expected, [j.case.seed for j in members], words)
        gold = [correct(e, found)["thing"] for e, found in zip(expected, read(modality, media), strict=True)]
        pair = paired([j.attributes["thing"] for j in members], gold)
        gaps[modality] = {"gap": pair.difference, "low": pair.low, "high": pair.high, "n": len(gold)}
    return gaps


def decode_captions(
    model: AnyToAny,
    modality: str,
    attributes: list[dict[str, Any]],
    seeds: list[int],
    words: list[str],
    batch_size: int = 8,
) -> list[np.ndarray]:
    """One medium for each set of attributes, from the decoder's own text encoder; ``words`` choose among candidates."""
    media: list[np.ndarray] = []
    carried = toybox.CARRIES[modality]
    for start in range(0, len(attributes), batch_size):
        part = slice(start, start + batch_size)
        captions = [toybox.tag_caption({n: v for n, v in each.items() if n in carried}) for each in attributes[part]]
        conditions = model.decoders[modality].encode_caption(captions)
        media += [each.array for each in model.decode(modality, conditions, seeds[part], words=words[part])]
    return media
