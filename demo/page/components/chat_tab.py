"""The chat's components, and what happens when they are used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from demo.page.appearance import matrix
from demo.page.chat import Chat
from demo.page.components.composer import build_composer
from demo.page.components.settings import Settings
from demo.page.components.thread import empty_page
from demo.page.export import write_folder, write_page
from demo.page.labels import QUIET, Labels
from demo.page.traffic import check_uploaded
from demo.page.visitors import Visitor
from demo.texts import read_asset
from nextgpt_lite.inspection.examples import Example

#: Events that stream a reply: as many at a time as there may be visitors who watch one. A message is never dropped.
REPLY: dict[str, Any] = {**QUIET, "concurrency_limit": 32, "concurrency_id": "reply", "trigger_mode": "multiple"}


class ChatTab:
    """The tabs "Chat" and "Examples"; ``shown`` are the outputs of every event that answers."""

    def __init__(
        self,
        chat: Chat,
        visitor: gr.State,
        settings: Settings,
        labels: Labels,
        examples: list[tuple[Example, list[Path]]],
    ) -> None:
        self.chat, self.visitor, self.settings, self.labels = chat, visitor, settings, labels
        self.examples = examples

    def build(self, conversations: gr.HTML) -> None:
        """Components, in the tab that is open."""
        self.conversations = conversations
        self.thread = gr.HTML(
            [empty_page("en")], html_template="${value.join('')}", js_on_load=read_asset("scripts/thread.js"),
            elem_id="thread", apply_default_css=False,
        )  # fmt: skip
        self.composer = build_composer()
        self.shown = [self.thread, self.composer, self.conversations]

    def build_gallery(self) -> None:
        """The matrix of examples, in the tab that is open."""
        click = read_asset("scripts/example_click.js")
        self.matrix = gr.HTML(matrix("en"), js_on_load=click, elem_id="matrix", apply_default_css=False)
        self.labels.add(self.matrix, value=matrix)

    def wire(self, tabs: gr.Tabs) -> None:
        """Events of the chat; ``tabs`` go to the chat when an example is sent from the gallery."""
        chat, settings, inputs = self.chat, self.settings, [self.visitor, *self.settings.components]

        def send(event: gr.EventData, visitor: Visitor, *values: Any):
            said = event._data
            files = [check_uploaded(file) for file in said.get("files") or []]
            editing = said.get("editing")
            yield from chat.send(visitor, str(said.get("text") or ""), files, *settings.read(*values), editing)

        def send_example(event: gr.EventData, visitor: Visitor, *values: Any):
            example, files = self.examples[int(event._data["index"])]  # a client chooses the number, not the file
            yield from chat.send(
                visitor, example.text(visitor.language), list(map(str, files)), *settings.read(*values)
            )

        def again(visitor: Visitor, *values: Any):
            yield from chat.again(visitor, *settings.read(*values))

        def edit(event: gr.EventData, visitor: Visitor):
            return chat.edit(visitor, int(event._data["turn"]))

        def cancel_medium(event: gr.EventData, visitor: Visitor):
            chat.cancel_medium(visitor, int(event._data["index"]))

        self.composer.submit(send, inputs, self.shown, **REPLY)
        self.composer.stop(chat.stop, self.visitor, None, **QUIET)
        self.thread.example_select(send_example, inputs, self.shown, **REPLY)
        self.thread.retry(again, inputs, self.shown, **REPLY)
        self.thread.edit(edit, self.visitor, self.shown, **QUIET)
        self.thread.cancel(cancel_medium, self.visitor, None, **QUIET)
        self.matrix.click(lambda: gr.Tabs(selected="chat"), None, tabs, **QUIET)
        self.matrix.click(send_example, inputs, self.shown, **REPLY)

    def wire_conversations(self, download: gr.DownloadButton) -> None:
        """Going from one conversation to another, and what can be done with each."""

        def changing(change: Callable[[Visitor, dict[str, Any]], object]):
            def handler(event: gr.EventData, visitor: Visitor, model: str):
                change(visitor, event._data)
                yield from self.chat.resume(visitor, model)

            return handler

        inputs = [self.visitor, self.settings.picker]
        for event, change in (
            (self.conversations.new, lambda visitor, said: visitor.begin()),
            (self.conversations.go, lambda visitor, said: visitor.go_to(str(said["identity"]))),
            (self.conversations.rename, lambda visitor, said: visitor.rename(str(said["identity"]), str(said["name"]))),
            (self.conversations.remove, lambda visitor, said: visitor.forget(str(said["identity"]))),
            (self.conversations.undo, lambda visitor, said: visitor.restore()),
        ):  # fmt: skip
            event(changing(change), inputs, self.shown, **REPLY)

        def export(event: gr.EventData, visitor: Visitor) -> Any:
            write = write_page if event._data["kind"] == "page" else write_folder
            return gr.DownloadButton(value=str(write(visitor, str(event._data["identity"]))))

        exported = self.conversations.export(export, self.visitor, download, **QUIET)
        exported.then(None, None, None, js="() => document.querySelector('#download').click()", **QUIET)
