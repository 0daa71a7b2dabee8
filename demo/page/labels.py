"""The texts of the page's components, changed all at once when the interface's language is."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.texts import translate

Label = str | Callable[[str], Any]
#: Settings of events that are no endpoints for other programs, and of those without gradio's progress overlay.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}


class Labels:
    """Remembers the texts of components. Components come out as outputs, their texts in a language as updates."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, dict[str, Label]]] = []

    def add(self, component: Any, **labels: Label) -> Any:
        """Label properties of ``component`` with keys of demo.texts or functions of the language."""
        self._entries.append((component, labels))
        return component

    @property
    def components(self) -> list[Any]:
        return [component for component, _ in self._entries]

    def updates(self, language: str) -> list[Any]:
        """The components' updates for ``language``, in the order of :attr:`components`."""
        return [
            gr.update(**{name: _text(label, language) for name, label in labels.items()}) for _, labels in self._entries
        ]


def _text(label: Label, language: str) -> Any:
    return translate(language, label) if isinstance(label, str) else label(language)
