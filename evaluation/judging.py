"""Replies to conversations of one's own, judged: is what was said, drawn or spoken what the manifest says it is?

A question counts under its cell, "audio->image" say: what the user has shown so far, and what the manifest's reply
holds. Records whose ``meta.attributes`` do not name what the judges judge are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from encoders.preprocess_audio import as_wave, resample
from evaluation.judges import Judge
from evaluation.scoring import Tally
from nextgpt_lite import Reply

RATE = 16_000


def cell_of(messages: list[dict[str, Any]], asked: list[str]) -> str:
    """ "image->text": media that the user has shown, text where none; media asked for, text where none."""
    shown = {part["type"] for message in messages if message["role"] == "user" for part in message["content"]}
    return "+".join(sorted(shown - {"text"}) or ["text"]) + "->" + "+".join(sorted(asked) or ["text"])


def judged(
    asked: Iterable[tuple[list[dict[str, Any]], list[str], dict[str, str], Reply]], judges: dict[str, Judge]
) -> dict[str, dict[str, float | int | None]]:
    """{cell: {"right": share, "count"}} of (messages, media asked for, attributes, reply)."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for messages, kinds, attributes, reply in asked:
        judge = next(iter(judges.values()))
        truth = attributes.get(judge.attribute)
        if truth in judge.classes and all(kind in judges for kind in kinds):
            right = (
                all(shows(judges[kind], reply, truth) for kind in kinds) if kinds else says(judge, reply.text, truth)
            )
            tallies[cell_of(messages, kinds)].add(right)
    return {cell: {"right": tally.share, "count": tally.total} for cell, tally in sorted(tallies.items())}


def says(judge: Judge, text: str, truth: str) -> bool:
    """Whether a reply names the true value and no other."""
    named = {value for value in judge.classes if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE)}
    return named == {truth}


def shows(judge: Judge, reply: Reply, truth: str) -> bool:
    """Whether the first medium of the judge's modality in a reply shows the true value; not, where none came."""
    for medium in reply.media:
        if medium.modality == judge.modality:
            array = medium.array
            if medium.modality == "audio":
                array = resample(as_wave(array), int(medium.rate or RATE), RATE)[0].numpy()
            return judge.predict([array]) == [truth]
    return False
