"""The page: chat, examples, explanations, playground; its language, its visitors, and how it is served.

nextgpt-lite demo --port 7860
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demo.engine.model_pool import Shelf
from demo.page.appearance import STYLE, TITLE, head, heading, theme
from demo.page.chat import Chat
from demo.page.chat_tab import ChatTab
from demo.page.conversations import DAY, Visitor, Visitors
from demo.page.explain_tab import ExplainTab
from demo.page.labels import Labels
from demo.page.local_files import MIDDLEWARE
from demo.page.mcp_tools import Tools
from demo.page.playground_tab import PlaygroundTab
from demo.page.settings_drawer import Drawer
from demo.page.words import LANGUAGES, say
from nextgpt_lite.chat_files import MAX_BYTES
from nextgpt_lite.showcase import Example

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class Page:
    """Everything on the page. ``blocks`` is what gradio serves."""

    def __init__(self, shelf: Shelf, visitors: Visitors, examples: list[tuple[Example, list[Path]]]) -> None:
        """``examples`` come with files in a folder that gradio may read."""
        self.shelf, self.visitors, self.labels = shelf, visitors, Labels()
        with gr.Blocks(title=TITLE, analytics_enabled=False, fill_height=True, delete_cache=(3600, DAY)) as self.blocks:
            # The key is no secret of ours: it only has to be the same when the demo is started again.
            self.browser = gr.BrowserState(storage_key=TITLE, secret=TITLE)
            self.visitor = gr.State(None)
            self.wide = gr.Checkbox(True, visible=False)
            self.drawer = Drawer(shelf, self.labels)
            self.tab = ChatTab(Chat(shelf), self.visitor, self.drawer, self.labels, examples)
            self._build_sides()
            self._build_main()
            Tools(shelf).publish()
            self._wire()
        self.blocks.queue(max_size=64, default_concurrency_limit=None)

    def _build_sides(self) -> None:
        add = self.labels.add
        with gr.Sidebar(open=False, width=256, elem_id="shelf") as self.side:
            self.new = add(gr.Button(elem_id="new", variant="primary"), value="new")
            self.conversations = add(gr.Radio(elem_id="conversations", interactive=True), label="conversations")
            self.delete = add(gr.Button(elem_id="delete", size="sm"), value="delete")
            keep = gr.HTML(elem_classes="heading", apply_default_css=False)
            add(keep, value=lambda language: f"<h2>{say(language, 'keep')}</h2>")
            self.as_page = add(gr.Button(elem_id="as-page", size="sm"), value="as_page")
            self.as_folder = add(gr.Button(elem_id="as-folder", size="sm"), value="as_folder")
            self.download = gr.DownloadButton("download", elem_id="download", visible="hidden")
        with gr.Sidebar(open=False, width=300, position="right", elem_id="drawer") as self.drawn:
            self.drawer.build()

    def _build_main(self) -> None:
        add = self.labels.add
        with gr.Row(elem_id="top", equal_height=True):
            add(gr.HTML(heading("en"), elem_id="heading", apply_default_css=False), value=heading)
            choices = [(name, code) for code, name in LANGUAGES.items()]
            self.language = gr.Radio(
                choices, value="en", show_label=False, container=False, elem_id="language", scale=0
            )
            self.open_drawer = add(gr.Button(elem_id="open-drawer", size="sm", scale=0, min_width=90), value="settings")
        with gr.Tabs(selected="chat", elem_id="tabs") as self.tabs:
            with gr.Tab("Chat", id="chat", elem_id="chat-tab") as chat:
                self.tab.build(self.conversations)
            with gr.Tab("Examples", id="examples", elem_id="examples-tab") as examples:
                self.tab.build_gallery()
            with gr.Tab("Explain", id="explain", elem_id="explain-tab") as self.explain_tab:
                self.explain = ExplainTab(self.shelf, self.visitor, self.labels)
                self.explain.build()
            with gr.Tab("Playground", id="playground", elem_id="playground-tab") as playground:
                self.playground = PlaygroundTab(self.shelf, self.visitor, self.labels)
                self.playground.build()
        named = (("chat", chat), ("examples", examples), ("explain", self.explain_tab), ("playground", playground))
        for key, tab in named:
            add(tab, label=key)

    def _wire(self) -> None:
        self.tab.wire(self.tabs)
        self.tab.wire_conversations(self.new, self.delete)
        self.tab.wire_export(self.as_page, self.as_folder, self.download)
        self.explain.wire(self.explain_tab, self.drawer.picker)
        self.playground.wire(self.drawer.picker)
        words = [self.browser, self.language, *self.labels.components]
        entered = self.blocks.load(
            self._enter, [self.browser, self.wide], [self.visitor, self.side, *words],
            js="(browser, wide) => [browser, window.innerWidth > 1000]", **QUIET,
        )  # fmt: skip
        inputs = [self.visitor, *self.drawer.components]
        resumed = entered.then(
            self._resume, inputs, self.tab.shown, concurrency_limit=32, concurrency_id="reply", **QUIET
        )
        resumed.then(None, js="() => document.querySelector('#box textarea')?.focus()", **QUIET)
        changed = self.language.input(self._speak, [self.visitor, self.language], words, **QUIET)
        changed.then(self._resume, inputs, self.tab.shown, concurrency_limit=32, concurrency_id="reply", **QUIET)
        self.open_drawer.click(lambda: gr.Sidebar(open=True), None, self.drawn, **QUIET)
        self.drawn.expand(self.drawer.models, None, self.drawer.about, **QUIET)

    def _enter(self, browser: dict[str, str] | None, wide: bool, request: gr.Request) -> list[Any]:
        """A page is opened: whose it is, and in which language. Who is not known gets a key."""
        known = browser if isinstance(browser, dict) else {}
        asked_for = "zh" if str(request.headers.get("accept-language", "")).lower().startswith("zh") else "en"
        language = known.get("language") if known.get("language") in LANGUAGES else asked_for
        visitor = self.visitors.enter(known.get("visitor"), str(language))
        return [visitor, gr.Sidebar(open=wide), *self._speak(visitor, str(language))]

    def _speak(self, visitor: Visitor, language: str) -> list[Any]:
        """All words of the page in a language, which the browser remembers."""
        visitor.language = language if language in LANGUAGES else "en"
        remembered = {"visitor": visitor.identity, "language": visitor.language}
        return [remembered, visitor.language, *self.labels.updates(visitor.language)]

    def _resume(self, visitor: Visitor, *drawn: Any):
        yield from self.tab.chat.resume(visitor, self.drawer.model(*drawn))


def launch(page: Page, host: str, port: int) -> str:
    """Serve the page and come back; says its address. OSError where the port is taken."""
    _, address, _ = page.blocks.launch(
        server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, share=False,
        allowed_paths=[], max_file_size=MAX_BYTES, enable_monitoring=False, run_history=False, footer_links=[],
        ssr_mode=False, pwa=False, mcp_server=True, theme=theme(), css=STYLE.read_text(encoding="utf-8"), head=head(),
        app_kwargs={"middleware": MIDDLEWARE},
    )  # fmt: skip
    return address
