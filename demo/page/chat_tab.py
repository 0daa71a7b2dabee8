"""The chat's components, and what happens when they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demo.page.appearance import empty_chat
from demo.page.chat import Chat
from demo.page.conversations import Visitor
from demo.page.export import write_folder, write_page
from demo.page.gallery import CLICK, chips, matrix
from demo.page.labels import Labels
from demo.page.local_files import own_files_only
from demo.page.settings_drawer import Drawer
from nextgpt_lite.chat_files import ACCEPTED
from nextgpt_lite.showcase import Example

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
#: Cards of media stand inside bubbles, where gradio has no events: clicks on their buttons are caught for the page. A
#: card is drawn anew at each step, so a click may never be completed: the press alone counts.
CANCEL_CLICK = """
const cancel = (event) => {
  const button = event.target.closest(".cancel-medium");
  if (!button || button.disabled) return;
  button.disabled = true;
  trigger("click", { index: Number(/cancel-(\\d+)/.exec(button.className)[1]) });
};
for (const kind of ["pointerdown", "click"]) document.addEventListener(kind, cancel);
"""


class ChatTab:
    """The tab "Chat" and the gallery's tab "Examples"; ``shown`` are the outputs of whatever answers."""

    def __init__(
        self, chat: Chat, visitor: gr.State, drawer: Drawer, labels: Labels, examples: list[tuple[Example, list[Path]]]
    ) -> None:
        self.chat, self.visitor, self.drawer, self.labels = chat, visitor, drawer, labels
        self.examples = examples

    def build(self, conversations: gr.Radio) -> None:
        """Components, in the tab that is open."""
        self.conversations = conversations
        self.bubbles = gr.Chatbot(
            elem_id="chat", show_label=False, layout="bubble", latex_delimiters=[], buttons=["copy"], allow_tags=False,
            feedback_options=None, editable="user", placeholder=empty_chat("en"), height="auto", scale=1,
            group_consecutive_messages=False,
        )  # fmt: skip
        self.labels.add(self.bubbles, placeholder=empty_chat)
        self.chips = gr.HTML(chips("en"), js_on_load=CLICK, elem_id="chips", apply_default_css=False)
        self.labels.add(self.chips, value=chips)
        self._build_box()
        self.cancel = gr.HTML("", js_on_load=CANCEL_CLICK, visible="hidden")
        self.shown = [self.bubbles, self.box, self.conversations]

    def _build_box(self) -> None:
        with gr.Row(elem_id="composer", equal_height=True):
            self.box = own_files_only(
                gr.MultimodalTextbox(
                    file_count="multiple", file_types=list(ACCEPTED), sources=["upload", "microphone"],
                    show_label=False, autofocus=True, max_plain_text_length=4000, elem_id="box", scale=1,
                    container=False, interactive=False,  # until the page knows its visitor: Chat.shown
                )
            )  # fmt: skip
            self.camera_button = gr.Button("", elem_id="camera-button", scale=0, min_width=44, size="sm")
        self.labels.add(self.box, placeholder="say")
        self.labels.add(self.camera_button, value="camera")
        self.camera = own_files_only(
            gr.Image(sources=["webcam"], type="filepath", visible=False, show_label=False, elem_id="camera", height=260)
        )

    def build_gallery(self) -> None:
        """The matrix of examples, in the tab that is open."""
        self.matrix = gr.HTML(matrix("en"), js_on_load=CLICK, elem_id="matrix", apply_default_css=False)
        self.labels.add(self.matrix, value=matrix)

    def wire(self, tabs: gr.Tabs) -> None:
        """Events of the chat; ``tabs`` go to the chat when an example is sent from the gallery."""
        chat, drawer, inputs = self.chat, self.drawer, [self.visitor, *self.drawer.components]

        def send(visitor: Visitor, value: dict[str, Any], *drawn: Any):
            yield from chat.send(visitor, value, drawer.settings(*drawn), drawer.model(*drawn))

        def send_example(event: gr.EventData, visitor: Visitor, *drawn: Any):
            example, files = self.examples[int(event._data["index"])]  # the client's word is taken for the number only
            paths = [str(file) for file in files]
            yield from chat.send_example(visitor, example, paths, drawer.settings(*drawn), drawer.model(*drawn))

        def again(visitor: Visitor, *drawn: Any):
            yield from chat.again(visitor, drawer.settings(*drawn), drawer.model(*drawn))

        def edit(event: gr.EditData, visitor: Visitor, *drawn: Any):
            index = event.index[0] if isinstance(event.index, list | tuple) else event.index
            yield from chat.edit(visitor, index, str(event.value), drawer.settings(*drawn), drawer.model(*drawn))

        def cancel_medium(event: gr.EventData, visitor: Visitor):
            chat.cancel_medium(visitor, int(event._data["index"]))

        reply = {**QUIET, "concurrency_limit": 32, "concurrency_id": "reply"}
        self.box.submit(send, [self.visitor, self.box, *drawer.components], self.shown, **reply)
        self.chips.click(send_example, inputs, self.shown, **reply)
        self.matrix.click(lambda: gr.Tabs(selected="chat"), None, tabs, **QUIET)
        self.matrix.click(send_example, inputs, self.shown, **reply)
        self.bubbles.retry(again, inputs, self.shown, **reply)
        self.bubbles.edit(edit, inputs, self.shown, **reply)
        self.bubbles.undo(chat.undo, self.visitor, self.shown, **QUIET)
        self.box.stop(chat.stop, self.visitor, None, **QUIET)
        self.cancel.click(cancel_medium, self.visitor, None, **QUIET)
        self._wire_camera()

    def _wire_camera(self) -> None:
        def taken(visitor: Visitor, picture: str | None, value: dict[str, Any] | None):
            if picture is None:
                return gr.skip(), gr.skip()
            value = value or {"text": "", "files": []}
            files = [*value["files"], picture]
            return {"text": value["text"], "files": files}, gr.Image(value=None, visible=False)

        self.camera_button.click(lambda: gr.Image(visible=True), None, self.camera, **QUIET)
        self.camera.input(taken, [self.visitor, self.camera, self.box], [self.box, self.camera], **QUIET)

    def wire_conversations(self, new: gr.Button, delete: gr.Button) -> None:
        """Going from one conversation to another."""
        chat, reply = self.chat, {**QUIET, "concurrency_limit": 32, "concurrency_id": "reply"}
        inputs = [self.visitor, *self.drawer.components]

        def go_to(visitor: Visitor, identity: str, *drawn: Any):
            visitor.go_to(identity)
            yield from chat.resume(visitor, self.drawer.model(*drawn))

        def begin(visitor: Visitor, *drawn: Any):
            visitor.begin()
            yield from chat.resume(visitor, self.drawer.model(*drawn))

        def forget(visitor: Visitor, *drawn: Any):
            visitor.forget(visitor.current.identity)
            yield from chat.resume(visitor, self.drawer.model(*drawn))

        self.conversations.input(
            go_to, [self.visitor, self.conversations, *self.drawer.components], self.shown, **reply
        )
        new.click(begin, inputs, self.shown, **reply)
        delete.click(forget, inputs, self.shown, **reply)
        self.bubbles.clear(forget, inputs, self.shown, **reply)

    def wire_export(self, as_page: gr.Button, as_folder: gr.Button, download: gr.DownloadButton) -> None:
        """A click writes the file, then clicks the hidden button that holds it."""
        for button, write in ((as_page, _page_of), (as_folder, _folder_of)):
            button.click(write, self.visitor, download, **QUIET).then(
                None, None, None, js="() => document.querySelector('#download').click()", **QUIET
            )


def _page_of(visitor: Visitor) -> Any:
    path = write_page(visitor.current, visitor.folder / "conversation.html", visitor.language)
    return gr.DownloadButton(value=str(path))


def _folder_of(visitor: Visitor) -> Any:
    return gr.DownloadButton(value=str(write_folder(visitor.current, visitor.folder / "conversation.zip")))
