"""The page: the conversation, its list and its panels, the other tabs, its visitors, and how it is served.

nextgpt-lite demo --port 7860
"""

from pathlib import Path
from typing import Any

import gradio as gr

from demo.engine.model_pool import ModelPool
from demo.page.appearance import TITLE, names
from demo.page.chat import Chat
from demo.page.compare_tab import CompareTab
from demo.page.components.chat_tab import REPLY, ChatTab
from demo.page.components.conversation_list import build_conversation_list
from demo.page.components.explain_panel import ExplainPanel
from demo.page.components.playground_tab import PlaygroundTab
from demo.page.components.settings import Settings
from demo.page.labels import QUIET, Labels
from demo.page.visitors import Visitors
from demo.texts import LANGUAGES, read_asset, render, translate
from nextgpt_lite.inspection.examples import Example


class Page:
    """Everything on the page. ``blocks`` is what gradio serves."""

    def __init__(
        self, pool: ModelPool, visitors: Visitors, examples: list[tuple[Example, list[Path]]], runs: bool = False
    ) -> None:
        """``examples`` come with files in a folder that gradio may read; ``runs``: whether there are pages of runs."""
        self.pool, self.visitors, self.labels, self.runs = pool, visitors, Labels(), runs
        with gr.Blocks(title=TITLE, analytics_enabled=False) as self.blocks:
            # The key is no secret of ours: it only has to be the same when the demo is started again.
            self.browser = gr.BrowserState(storage_key=TITLE, secret=TITLE)
            self.visitor = gr.State(None)
            self.asked, self.remembered = gr.Textbox(visible=False), gr.Textbox(visible=False)
            self.settings = Settings(pool, self.labels)
            self.chat = ChatTab(Chat(pool), self.visitor, self.settings, self.labels, examples)
            self.explain = ExplainPanel(pool, self.visitor, self.labels)
            self.playground = PlaygroundTab(pool, self.visitor, self.labels)
            self.compare = CompareTab(pool, self.visitor, self.labels)
            self._build_side()
            self._build_tabs()
            self._build_panels()
            self._wire()
        self.blocks.queue(max_size=64, default_concurrency_limit=None)

    def _build_side(self) -> None:
        with gr.Column(elem_id="side", min_width=0):
            self.conversations = build_conversation_list()
            self.download = gr.DownloadButton("download", elem_id="download", visible="hidden")

    def _build_tabs(self) -> None:
        """A tab is one line here and a class of its own."""
        top = gr.HTML(js_on_load=read_asset("scripts/panel.js"), elem_id="top", apply_default_css=False)
        self.labels.add(top, value=lambda language: render("top", language, runs=self.runs, names=names(language)))
        with gr.Tabs(selected="chat", elem_id="tabs") as self.tabs:
            with self._tab("chat"):
                self.chat.build(self.conversations)
            with self._tab("examples"):
                self.chat.build_gallery()
            with self._tab("playground"):
                self.playground.build()
            with self._tab("compare"):
                self.compare.build()

    def _build_panels(self) -> None:
        """What lies beside the conversation when it is asked for."""
        with gr.Column(elem_id="settings", min_width=0):
            self.settings.build()
        with gr.Column(elem_id="explain", min_width=0):
            self.explain.build()

    def _tab(self, key: str) -> gr.Tab:
        return self.labels.add(gr.Tab(translate("en", key), id=key, elem_id=f"{key}-tab"), label=key)

    def _wire(self) -> None:
        settings = self.settings
        self.chat.wire(self.tabs)
        self.chat.wire_conversations(self.download)
        self.explain.wire(self.chat.thread, settings.picker)
        self.playground.wire(settings.picker)
        self.compare.wire()
        entered = self.blocks.load(
            self._enter, [self.browser, self.asked, self.remembered],
            [self.visitor, self.browser, settings.language, *self.labels.components],
            js=read_asset("scripts/enter.js"), **QUIET,
        )  # fmt: skip
        resume: tuple[Any, ...] = (self.chat.chat.resume, [self.visitor, settings.picker], self.chat.shown)
        entered.then(*resume, **REPLY)
        entered.then(None, settings.theme, settings.theme, js="(theme) => page.theme()", **QUIET)
        settings.language.input(None, settings.language, None, js="(language) => page.setLanguage(language)", **QUIET)
        settings.theme.input(None, settings.theme, None, js="(theme) => page.setTheme(theme)", **QUIET)
        settings.picker.change(settings.models, settings.language, settings.about, **QUIET)

    def _enter(self, browser: Any, language: Any, remembered: Any, request: gr.Request) -> list[Any]:
        """A page is opened, in a language. An unknown browser, or a broken memory of it, gets a key."""
        known = browser if isinstance(browser, dict) else {}
        chosen = language if isinstance(language, str) and language in LANGUAGES else "en"
        visitor = self.visitors.enter(known.get("visitor"), chosen, remembered, request.session_hash or "")
        return [visitor, {"visitor": visitor.identity}, chosen, *self.labels.updates(chosen)]
