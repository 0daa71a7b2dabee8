"""The visitor's conversations: searched, renamed, deleted and restored, exported. See scripts/conversations.js."""

from __future__ import annotations

from datetime import datetime

import gradio as gr

from demo.page.visitors import Visitor
from demo.texts import read_asset, render, translate


def conversation_list(visitor: Visitor | None, language: str = "en") -> str:
    """The list as HTML; of nobody yet where there is no visitor."""
    language = visitor.language if visitor else language
    entries = visitor.conversations if visitor else []
    return render(
        "conversations", language, entries=entries, current=visitor.current.identity if visitor else "",
        times=[_time(entry.changed, language) for entry in entries], deleted=bool(visitor and visitor.deleted),
    )  # fmt: skip


def build_conversation_list() -> gr.HTML:
    """The component. Events: "new", "go", "rename", "remove", "undo" and "export", with the conversation's identity."""
    return gr.HTML(
        conversation_list(None), js_on_load=read_asset("scripts/conversations.js"), elem_id="conversations",
        apply_default_css=False,
    )  # fmt: skip


def _time(seconds: float, language: str) -> tuple[str, str]:
    """When something was last said: for programs, and for readers, of today the time, else the day."""
    when, now = datetime.fromtimestamp(seconds), datetime.now()
    if when.date() == now.date():
        said = f"{when:%H:%M}"
    elif when.year == now.year:
        said = translate(language, "day", day=when.day, month=f"{when:%b}" if language == "en" else when.month)
    else:
        said = f"{when:%Y-%m-%d}"
    return when.isoformat(timespec="minutes"), said
