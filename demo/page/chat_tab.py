"""The chat's components, and what happens when they are used."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from demo.page.appearance import chips, empty_chat, matrix
from demo.page.chat import MAX_TEXT, Chat
from demo.page.export import write_folder, write_page
from demo.page.labels import QUIET, Labels
from demo.page.settings_drawer import SettingsDrawer
from demo.page.traffic import own_files_only
from demo.page.visitors import Visitor
from demo.texts import read_asset
from nextgpt_lite.conversation_media import ACCEPTED
from nextgpt_lite.inspection.examples import Example

#: Events that stream a reply: as many at a time as there may be visitors who watch one.
REPLY: dict[str, Any] = {**QUIET, "concurrency_limit": 32, "concurrency_id": "reply"}


class ChatTab:
    """The tabs "Chat" and "Examples"; ``shown`` are the outputs of every event that answers."""

    def __init__(
        self,
        chat: Chat,
        visitor: gr.State,
        drawer: SettingsDrawer,
        labels: Labels,
        examples: list[tuple[Example, list[Path]]],
    ) -> None:
        self.chat, self.visitor, self.drawer, self.labels = chat, visitor, drawer, labels
        self.examples = examples

    def build(self, conversations: gr.Radio) -> None:
        """Components, in the tab that is open."""
        self.conversations = conversations
        self.bubbles = gr.Chatbot(
            elem_id="chat", show_label=False, layout="bubble", latex_delimiters=[], buttons=["copy"], allow_tags=False,
            feedback_options=None, editable="user", placeholder=empty_chat("en"), height="auto", scale=1,
            group_consecutive_messages=False, render_markdown=False,  # text is shown as it was typed or generated
        )  # fmt: skip
        self.labels.add(self.bubbles, placeholder=empty_chat)
        self.chips = self._examples(chips, "chips")
        self._build_box()
        self.cancel = gr.HTML("", js_on_load=read_asset("cancel_click.js"), visible="hidden")
        self.shown = [self.bubbles, self.box, self.conversations]

    def _build_box(self) -> None:
        with gr.Row(elem_id="composer", equal_height=True):
            self.box = own_files_only(
                gr.MultimodalTextbox(
                    file_count="multiple", file_types=list(ACCEPTED), sources=["upload", "microphone"],
                    show_label=False, autofocus=True, max_plain_text_length=MAX_TEXT, elem_id="box", scale=1,
                    container=False, interactive=False,  # until the page knows its visitor: Chat.shown
                )
            )  # fmt: skip
            self.camera_button = gr.Button("", elem_id="camera-button", scale=0, min_width=44, size="sm")
        self.labels.add(self.box, placeholder="message")
        self.labels.add(self.camera_button, value="camera")
        self.camera = own_files_only(
            gr.Image(sources=["webcam"], type="filepath", visible=False, show_label=False, elem_id="camera", height=260)
        )

    def build_gallery(self) -> None:
        """The matrix of examples, in the tab that is open."""
        self.matrix = self._examples(matrix, "matrix")

    def _examples(self, content: Callable[[str], str], name: str) -> gr.HTML:
        click = read_asset("example_click.js")
        component = gr.HTML(content("en"), js_on_load=click, elem_id=name, apply_default_css=False)
        return self.labels.add(component, value=content)

    def wire(self, tabs: gr.Tabs) -> None:
        """Events of the chat; ``tabs`` go to the chat when an example is sent from the gallery."""
        chat, drawer, inputs = self.chat, self.drawer, [self.visitor, *self.drawer.components]

        def send(visitor: Visitor, value: dict[str, Any], *settings: Any):
            yield from chat.send(visitor, value, *drawer.read(*settings))

        def send_example(event: gr.EventData, visitor: Visitor, *settings: Any):
            example, files = self.examples[int(event._data["index"])]  # a client chooses the number, not the file
            value = {"text": example.text(visitor.language), "files": list(map(str, files))}
            yield from chat.send(visitor, value, *drawer.read(*settings))

        def again(visitor: Visitor, *settings: Any):
            yield from chat.again(visitor, *drawer.read(*settings))

        def edit(event: gr.EditData, visitor: Visitor, *settings: Any):
            index = event.index[0] if isinstance(event.index, list | tuple) else event.index
            text = html.unescape(str(event.value))  # it comes as the bubble holds it
            yield from chat.edit(visitor, index, text, *drawer.read(*settings))

        def cancel_medium(event: gr.EventData, visitor: Visitor):
            chat.cancel_medium(visitor, int(event._data["index"]))

        self.box.submit(send, [self.visitor, self.box, *drawer.components], self.shown, **REPLY)
        self.chips.click(send_example, inputs, self.shown, **REPLY)
        self.matrix.click(lambda: gr.Tabs(selected="chat"), None, tabs, **QUIET)
        self.matrix.click(send_example, inputs, self.shown, **REPLY)
        self.bubbles.retry(again, inputs, self.shown, **REPLY)
        self.bubbles.edit(edit, inputs, self.shown, **REPLY)
        self.bubbles.undo(chat.undo, self.visitor, self.shown, **QUIET)
        self.box.stop(chat.stop, self.visitor, None, **QUIET)
        self.cancel.click(cancel_medium, self.visitor, None, **QUIET)
        self._wire_camera()

    def _wire_camera(self) -> None:
        def attach_photo(visitor: Visitor, photo: str | None, value: dict[str, Any] | None):
            if photo is None:
                return gr.skip(), gr.skip()
            value = value or {"text": "", "files": []}
            return {**value, "files": [*value["files"], photo]}, gr.Image(value=None, visible=False)

        self.camera_button.click(lambda: gr.Image(visible=True), None, self.camera, **QUIET)
        self.camera.input(attach_photo, [self.visitor, self.camera, self.box], [self.box, self.camera], **QUIET)

    def wire_conversations(self, new: gr.Button, delete: gr.Button) -> None:
        """Going from one conversation to another."""

        def go_to(visitor: Visitor, identity: str, model: str):
            visitor.go_to(identity)
            yield from self.chat.resume(visitor, model)

        inputs = [self.visitor, self.conversations, self.drawer.picker]
        self.conversations.input(go_to, inputs, self.shown, **REPLY)
        forget = self._after(Visitor.forget)
        for event, handler in (
            (new.click, self._after(Visitor.begin)), (delete.click, forget), (self.bubbles.clear, forget),
        ):  # fmt: skip
            event(handler, [self.visitor, self.drawer.picker], self.shown, **REPLY)

    def _after(self, change: Callable[[Visitor], object]):
        """A handler that changes which conversation is current and shows it."""

        def handler(visitor: Visitor, model: str):
            change(visitor)
            yield from self.chat.resume(visitor, model)

        return handler

    def wire_export(self, as_page: gr.Button, as_folder: gr.Button, download: gr.DownloadButton) -> None:
        """A click writes the file, then clicks the hidden button that holds it."""
        for button, export in ((as_page, write_page), (as_folder, write_folder)):

            def write(visitor: Visitor, export=export) -> Any:
                return gr.DownloadButton(value=str(export(visitor)))

            clicked = button.click(write, self.visitor, download, **QUIET)
            clicked.then(None, None, None, js="() => document.querySelector('#download').click()", **QUIET)
