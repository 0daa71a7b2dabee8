"""The conversation as HTML: turns with their media as cards, a toolbar for each reply, what to try after a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from data.modalities import MODALITIES
from demo.data_urls import mime_type
from demo.page.appearance import previews
from demo.page.conversations import Conversation
from demo.page.streamed_reply import Card
from demo.page.turns import Turn, points_file
from demo.texts import render, translate
from nextgpt_lite.inspection.examples import EXAMPLES

#: Numbers of the examples on the empty page: a question about an image, a drawing, a video, a sound, ...
FIRST = (4, 1, 3, 2, 9, 16)
#: Images up to this many pixels on their long side are enlarged by whole numbers, without smoothing.
SMALL = 96
#: How a reply says that it does not know what it was asked.
_REFUSAL = re.compile(
    r"\bI (?:don't|do not) know\b|\bI only know\b|\bI can(?:not|'t)\b|不认识|我只认识|我不知道|我不会"
)


@dataclass(frozen=True)
class Shown:
    """A medium as the template card.html shows it. ``state``: "done", "making" or "cancelled"."""

    modality: str
    state: str = "done"
    url: str = ""
    kind: str = ""
    name: str = ""
    alt: str = ""
    download: str = ""
    points: str = ""
    size: tuple[int, int] | None = None
    small: bool = False
    index: int = 0
    step: int = 0
    total: int = 0
    preview: str = ""
    making: str = ""


def thread(conversation: Conversation, language: str, waiting: str, coming: Turn | None = None) -> list[str]:
    """HTML of each turn; of the empty page where there is none. ``coming`` is shown behind them, ``waiting`` stands
    where a reply has no words yet."""
    turns = [*conversation.turns, *([coming] if coming else [])]
    if not turns:
        return [empty_page(language)]
    last = len(turns) - 1
    return [_turn(turn, number, language, waiting, number == last) for number, turn in enumerate(turns)]


def empty_page(language: str) -> str:
    examples = [(number, EXAMPLES[number], EXAMPLES[number].given or EXAMPLES[number].made) for number in FIRST]
    return render("empty", language, examples=examples, previews=previews())


def is_refusal(text: str) -> bool:
    """Whether a reply says that the model does not know what it was asked."""
    return bool(_REFUSAL.search(text))


def suggestions(turn: Turn, number: int) -> list[tuple[int, Any]]:
    """Three examples to try instead, with their numbers; the first takes what the refused message had, if any does."""
    given = next(iter(turn.modalities), None)
    turned = [FIRST[(number + place) % len(FIRST)] for place in range(len(FIRST))]
    chosen = sorted(turned, key=lambda each: EXAMPLES[each].given != given)
    return [(each, EXAMPLES[each]) for each in [*chosen[:1], *[n for n in turned if n not in chosen[:1]]][:3]]


def _turn(turn: Turn, number: int, language: str, waiting: str, last: bool) -> str:
    text, cards, finished, stopped = _reply(turn)
    refused = finished and last and not cards and is_refusal(text)
    return render(
        "turn", language, turn=turn, number=number, last=last, text=text, finished=finished, stopped=stopped,
        waiting="" if finished else waiting, given=list(_given(turn, language)),
        made=[_made(card, index, text, language) for index, card in enumerate(cards)],
        suggestions=suggestions(turn, number) if refused else [],
    )  # fmt: skip


def _reply(turn: Turn) -> tuple[str, list[Card], bool, bool]:
    """Text and cards of a turn's reply so far, whether it has ended, and whether it was stopped."""
    if turn.kept:
        return turn.kept.text, list(turn.kept.cards), True, turn.kept.stopped
    if turn.streamed:
        return turn.streamed.text, [card for _, card in sorted(turn.streamed.cards.items())], False, False
    return "", [], False, False


def _given(turn: Turn, language: str) -> Iterator[Shown]:
    """What a user has attached."""
    for modality, file, shown in zip(turn.modalities, turn.files, turn.shown, strict=True):
        alt = translate(language, "attached_alt", medium=translate(language, modality), name=file.name)
        yield _file(modality, shown, file, alt)


def _made(card: Card, index: int, text: str, language: str) -> Shown:
    """A medium of a reply."""
    if card.files:
        file, shown = card.files
        alt = translate(language, "reply_alt", medium=translate(language, card.modality), text=text)
        return _file(card.modality, shown, file, alt)
    if card.cancelled:
        return Shown(card.modality, "cancelled")
    making = MODALITIES[card.modality].is_making(language)
    return Shown(
        card.modality, "making", index=index, step=card.step, total=card.total, preview=card.preview, making=making
    )  # fmt: skip


def _file(modality: str, shown: Path, file: Path, alt: str) -> Shown:
    kind, points = mime_type(shown).partition("/")[0], points_file(shown)
    return Shown(
        modality, url=address(shown), kind=kind, name=file.name, alt=alt, download=address(file), size=_size(shown),
        small=is_small(shown), points=address(points) if points.is_file() else "",
    )  # fmt: skip


def address(path: Path) -> str:
    """Where the page's server has a file of a conversation."""
    return f"/gradio_api/file={quote(str(path))}"


def is_small(path: Path) -> bool:
    """Whether a file is an image that is to be enlarged by whole numbers."""
    size = _size(path)
    return size is not None and max(size) <= SMALL


@lru_cache(maxsize=4096)
def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image that is never written again; None for one that is gone, and for other files."""
    if not mime_type(path).startswith("image"):
        return None
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
