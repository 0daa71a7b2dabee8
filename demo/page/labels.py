"""The words on the page's components, changed all at once when the interface's language is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.page.words import say

Words = str | Callable[[str], Any]


class Labels:
    """Remembers which component says what. Components come out as outputs, their words in a language as updates."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, dict[str, Words]]] = []

    def add(self, component: Any, **words: Words) -> Any:
        """Have properties of ``component`` say words: keys of demo.page.words, or functions of the language."""
        self._entries.append((component, words))
        return component

    @property
    def components(self) -> list[Any]:
        return [component for component, _ in self._entries]

    def updates(self, language: str) -> list[Any]:
        """What the components become in ``language``, in the order of :attr:`components`."""
        return [
            gr.update(**{name: _said(value, language) for name, value in words.items()}) for _, words in self._entries
        ]


def _said(words: Words, language: str) -> Any:
    return say(language, words) if isinstance(words, str) else words(language)
