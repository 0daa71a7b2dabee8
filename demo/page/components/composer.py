"""The one field: text, attached files, microphone, camera, send or stop. What goes on in it is scripts/composer.js."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from demo.page.components.thread import address
from demo.page.turns import Turn
from demo.texts import read_asset, render, translate
from nextgpt_lite.conversation_media import ACCEPTED

#: The longest message, in characters.
MAX_TEXT = 4000
#: A number for each state, so that a state that is sent twice is seen twice.
_serial = itertools.count()


def composer(language: str, ready: bool = True, **state: Any) -> dict[str, Any]:
    """The value of the component: the form in a language, and what composer.js is to show.

    ``conversation`` is the identity under which a draft is kept, ``running`` whether a reply is being generated,
    ``notice`` a sentence, ``restore`` a message to put back into the field (:func:`draft`).
    """
    return {"form": _form(language, ready), "state": {"serial": next(_serial), "ready": ready, **state}}


def draft(text: str, files: Sequence[str | Path], editing: int | None = None) -> dict[str, Any]:
    """A message for the field. ``editing`` is the number of the turn that it replaces."""
    named = [{"path": str(file), "name": Path(file).name, "url": address(Path(file))} for file in files]
    return {"text": text, "files": named, "editing": editing}


def draft_of(turn: Turn, editing: int | None = None) -> dict[str, Any]:
    """A user's message as the field holds it."""
    return draft(turn.text, turn.files, editing)


def build_composer() -> gr.HTML:
    """The component. Events: "submit" with text, files and editing; "stop"."""
    return gr.HTML(
        composer("en", ready=False), html_template="${value.form}", js_on_load=read_asset("scripts/composer.js"),
        elem_id="composer", apply_default_css=False,
    )  # fmt: skip


@cache
def _form(language: str, ready: bool) -> str:
    return render("composer", language, ready=ready, length=MAX_TEXT, accept=",".join(ACCEPTED))


def notice(language: str, sentence: str, title: str = "did_not_work") -> dict[str, str]:
    """A sentence above the field, with a title."""
    return {"title": translate(language, title), "text": sentence}
