"""Cases in free wording: a frozen table of requests that no grammar made, and things that no list of training names."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data import toybox
from data.modalities import MODALITIES

TABLE = Path(__file__).with_name("wording.yaml")


@cache
def table() -> dict[str, Any]:
    """``wording.yaml``."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def requests(language: str) -> list[dict[str, Any]]:
    """The entries of a language, each with what its last reply must hold: "turn" (content of the user's turn, without
    a medium), "show", "make" and "attributes" that are fixed."""
    return table()[language]


def free_turns(language: str, count: int, seed: int) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any], str]]:
    """(the user's turn, what the reply must hold, cell) of ``count`` requests, evenly spread over the table.

    Beyond its end the table starts again, with other scenes.
    """
    entries = requests(language)
    for index in range(count):
        entry = entries[index * len(entries) // count if count < len(entries) else index % len(entries)]
        scene = toybox.sample(seed, index).with_(count=1)
        shown, made = entry.get("show"), entry.get("make")
        known = {name: getattr(scene, name) for name in entry.get("ask", ())}
        turn: list[dict[str, Any]] = [{"type": "text", "text": entry["say"]}]
        if shown:
            turn.insert(0, {"type": shown, "array": toybox.render(scene, shown), "rate": MODALITIES[shown].rate})
        expected = {
            "modalities": [made] if made else [],
            "attributes": known | entry.get("want", {}),
            "unknown": False,
        }
        yield turn, expected, f"{shown or 'text'}->{made or 'text'}"


def outside_turns(language: str, count: int) -> Iterator[list[dict[str, Any]]]:
    """The user's turns of ``count`` requests for things that are outside the world."""
    known = table()["outside"][language]
    nouns, forms = known["nouns"], known["requests"]
    for index in range(count):
        noun = nouns[index % len(nouns)]
        if language == "en":
            noun = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
        text = forms[(index + index // len(nouns)) % len(forms)].format(x=noun)
        yield [{"type": "text", "text": text}]
