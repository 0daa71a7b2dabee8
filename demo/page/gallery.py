"""Example messages: a few below the empty chat, and a matrix of all pairs of media."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from data.modalities import MODALITIES
from demo.page.templates import render
from nextgpt_lite.inspection.examples import EXAMPLES, INGREDIENTS, ingredient

#: Numbers of the examples below the empty chat.
FIRST = (1, 3, 4, 9, 18)
#: Symbols by the type that browsers know of a medium's files.
SYMBOLS = {"image": "▣", "audio": "♪", "video": "▶"}


def chips(language: str) -> str:
    """A few examples in a row."""
    return _render(language, FIRST)


def matrix(language: str) -> str:
    """All examples: a row for what is sent, a column for what is generated."""
    return _render(language, ())


def _render(language: str, first: tuple[int, ...]) -> str:
    rows: dict[str | None, dict[str, int]] = {}
    for number, example in enumerate(EXAMPLES):
        rows.setdefault(example.given, {})[example.made] = number
    symbols = {name: SYMBOLS.get(_family(name), "⁘") for name in MODALITIES} | {None: "Aa", "text": "Aa"}
    return render(
        "gallery", language, examples=EXAMPLES, first=first, matrix=list(rows.items()), symbols=symbols,
        previews=_previews(),
    )  # fmt: skip


@cache
def _previews(size: int = 48) -> dict[str, np.ndarray]:
    """A small image (``size``, ``size``, 3) of what examples attach, except of what is only heard."""
    previews = {}
    for name, (modality, _) in INGREDIENTS.items():
        if modality not in previews and _family(modality) != "audio":
            image = MODALITIES[modality].preview(ingredient(name)["array"])
            previews[modality] = np.asarray(Image.fromarray(image).resize((size, size)))
    return previews


def _family(modality: str) -> str:
    return MODALITIES[modality].mime.partition("/")[0]
