"""The page with its tabs (chat, examples, explain, playground), its language and its visitors, and how it is served.

nextgpt-lite demo --port 7860
"""

from pathlib import Path
from typing import Any

import gradio as gr

from demo.engine.model_pool import ModelPool
from demo.page.appearance import TITLE, heading
from demo.page.chat import Chat
from demo.page.chat_tab import REPLY, ChatTab
from demo.page.compare_tab import CompareTab
from demo.page.explain_tab import ExplainTab
from demo.page.labels import QUIET, Labels
from demo.page.playground_tab import PlaygroundTab
from demo.page.settings_drawer import SettingsDrawer
from demo.page.visitors import Visitor, Visitors
from demo.texts import LANGUAGES, read_asset, translate
from nextgpt_lite.inspection.examples import Example


class Page:
    """Everything on the page. ``blocks`` is what gradio serves."""

    def __init__(
        self, pool: ModelPool, visitors: Visitors, examples: list[tuple[Example, list[Path]]], runs: bool = False
    ) -> None:
        """``examples`` come with files in a folder that gradio may read; ``runs``: whether there are pages of runs."""
        self.pool, self.visitors, self.labels, self.runs = pool, visitors, Labels(), runs
        with gr.Blocks(title=TITLE, analytics_enabled=False, fill_height=True) as self.blocks:
            # The key is no secret of ours: it only has to be the same when the demo is started again.
            self.browser = gr.BrowserState(storage_key=TITLE, secret=TITLE)
            self.visitor = gr.State(None)
            self.wide, self.remembered = gr.Checkbox(True, visible=False), gr.Textbox(visible=False)
            self.drawer = SettingsDrawer(pool, self.labels)
            self.tab = ChatTab(Chat(pool), self.visitor, self.drawer, self.labels, examples)
            self._build_sides()
            self._build_main()
            self._wire()
        self.blocks.queue(max_size=64, default_concurrency_limit=None)

    def _build_sides(self) -> None:
        add = self.labels.add
        with gr.Sidebar(open=False, width=256, elem_id="sidebar") as self.side:
            self.new = add(gr.Button(elem_id="new", variant="primary"), value="new")
            self.conversations = add(gr.Radio(elem_id="conversations", interactive=True), label="conversations")
            self.delete = add(gr.Button(elem_id="delete", size="sm"), value="delete")
            export = gr.HTML(elem_classes="heading", apply_default_css=False)
            add(export, value=lambda language: f"<h2>{translate(language, 'export')}</h2>")
            self.as_page = add(gr.Button(elem_id="as-page", size="sm"), value="as_page")
            self.as_folder = add(gr.Button(elem_id="as-folder", size="sm"), value="as_folder")
            self.download = gr.DownloadButton("download", elem_id="download", visible="hidden")
        with gr.Sidebar(open=False, width=300, position="right", elem_id="drawer") as self.drawer_bar:
            self.drawer.build()

    def _build_main(self) -> None:
        add = self.labels.add
        with gr.Row(elem_id="top", equal_height=True):
            add(gr.HTML(heading("en"), elem_id="heading", apply_default_css=False), value=heading)
            choices = [(name, code) for code, name in LANGUAGES.items()]
            if self.runs:
                link = gr.HTML(elem_id="runs-link", apply_default_css=False)
                add(
                    link,
                    value=lambda language: f'<a href="/runs?language={language}">{translate(language, "runs")}</a>',
                )
            self.language = gr.Radio(
                choices, value="en", show_label=False, container=False, elem_id="language", scale=0
            )
            self.open_drawer = add(gr.Button(elem_id="open-drawer", size="sm", scale=0, min_width=90), value="settings")
        with gr.Tabs(selected="chat", elem_id="tabs") as self.tabs:
            with self._tab("chat"):
                self.tab.build(self.conversations)
            with self._tab("examples"):
                self.tab.build_gallery()
            with self._tab("explain") as self.explain_tab:
                self.explain = ExplainTab(self.pool, self.visitor, self.labels)
                self.explain.build()
            with self._tab("playground"):
                self.playground = PlaygroundTab(self.pool, self.visitor, self.labels)
                self.playground.build()
            with self._tab("compare"):
                self.compare = CompareTab(self.pool, self.visitor, self.labels)
                self.compare.build()

    def _tab(self, key: str) -> gr.Tab:
        return self.labels.add(gr.Tab(translate("en", key), id=key, elem_id=f"{key}-tab"), label=key)

    def _wire(self) -> None:
        self.tab.wire(self.tabs)
        self.tab.wire_conversations(self.new, self.delete)
        self.tab.wire_export(self.as_page, self.as_folder, self.download)
        self.explain.wire(self.explain_tab, self.drawer.picker)
        self.playground.wire(self.drawer.picker)
        self.compare.wire()
        texts = [self.browser, self.language, *self.labels.components]
        entered = self.blocks.load(
            self._enter, [self.browser, self.wide, self.remembered], [self.visitor, self.side, *texts],
            js=read_asset("enter.js"), **QUIET,
        )  # fmt: skip
        self.conversations.change(None, self.conversations, None, js=read_asset("remember.js"), **QUIET)
        resume: tuple[Any, ...] = (self.tab.chat.resume, [self.visitor, self.drawer.picker], self.tab.shown)
        resumed = entered.then(*resume, **REPLY)
        resumed.then(None, js="() => document.querySelector('#box textarea')?.focus()", **QUIET)
        changed = self.language.input(self._set_language, [self.visitor, self.language], texts, **QUIET)
        changed.then(*resume, **REPLY)
        self.open_drawer.click(lambda: gr.Sidebar(open=True), None, self.drawer_bar, **QUIET)
        self.drawer_bar.expand(self.drawer.models, None, self.drawer.about, **QUIET)

    def _enter(self, browser: Any, wide: bool, remembered: Any, request: gr.Request) -> list[Any]:
        """A page is opened: its visitor and its language. An unknown browser, or a broken memory of it, gets a key."""
        known = browser if isinstance(browser, dict) else {}
        preferred = "zh" if str(request.headers.get("accept-language", "")).lower().startswith("zh") else "en"
        language = known.get("language") if known.get("language") in [*LANGUAGES] else preferred
        visitor = self.visitors.enter(known.get("visitor"), str(language), remembered, request.session_hash or "")
        return [visitor, gr.Sidebar(open=wide), *self._set_language(visitor, str(language))]

    def _set_language(self, visitor: Visitor, language: str) -> list[Any]:
        """All texts of the page in a language, which the browser remembers."""
        visitor.language = language if language in LANGUAGES else "en"
        remembered = {"visitor": visitor.identity, "language": visitor.language}
        return [remembered, visitor.language, *self.labels.updates(visitor.language)]
