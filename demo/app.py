"""The chat page: a text box that takes files, streamed text, a progress line for each medium that becomes the medium.

nextgpt-lite demo --port 7860
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr

from demo.look import CSS, TITLE, masthead, theme
from demo.session import Growing, Session
from demo.talker import Cancelled, Progress, Talker, Text
from nextgpt_lite import Reply
from nextgpt_lite.chat_command import ERRORS
from nextgpt_lite.chat_files import ACCEPTED, MAX_BYTES
from nextgpt_lite.showcase import Example

PLACEHOLDER = "Say something, or attach pictures, videos, sounds or point clouds …"
DAY = 86_400  # seconds


def build(talker: Talker, examples: list[tuple[Example, list[Path]]]) -> gr.Blocks:
    """The page. ``examples`` come with files in a folder that gradio may read."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_height=True, delete_cache=(3600, DAY)) as page:
        session = gr.State(Session(), delete_callback=Session.close)
        gr.HTML(masthead(), padding=False)
        chat = _chat(examples)
        box = _box()
        with gr.Row(equal_height=True):
            seed = gr.Number(
                0, label="Seed: the same seed, the same picture", precision=0, minimum=0, maximum=2**31 - 1
            )
            clear = gr.Button("Clear", variant="secondary")
        _wire(talker, examples, session, chat, box, seed, clear)
    page.queue(max_size=32, default_concurrency_limit=None)
    return page


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Serve the page and come back; says its address. OSError where the port is taken."""
    _, address, _ = page.launch(
        server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, share=False,
        allowed_paths=[], max_file_size=MAX_BYTES, enable_monitoring=False, run_history=False, footer_links=[],
        ssr_mode=False, pwa=False, mcp_server=False, theme=theme(), css=CSS,
    )  # fmt: skip
    return address


def _chat(examples: list[tuple[Example, list[Path]]]) -> gr.Chatbot:
    cards = [
        {"text": example.text, "display_text": example.text, "files": [str(file) for file in files]}
        for example, files in examples
    ]
    return gr.Chatbot(
        examples=cards, elem_id="chat", show_label=False, height=520, layout="bubble", latex_delimiters=[],
        buttons=["copy"], allow_tags=False, feedback_options=None, placeholder="### What shall we make?",
    )  # fmt: skip


def _box() -> gr.MultimodalTextbox:
    box = gr.MultimodalTextbox(
        file_count="multiple", file_types=list(ACCEPTED), placeholder=PLACEHOLDER, show_label=False, autofocus=True,
        max_plain_text_length=4000, elem_id="box",
    )  # fmt: skip
    keep_file = box.async_move_resource_to_block_cache

    async def keep_file_of_this_machine(path: Any) -> str | None:
        """Gradio would download an address that a client gives for a file; here nothing is fetched."""
        if "://" in str(path):
            raise gr.Error("Addresses are not fetched: download the file and attach it.", print_exception=False)
        return await keep_file(path)

    box.async_move_resource_to_block_cache = keep_file_of_this_machine
    return box


def _wire(talker, examples, session, chat, box, seed, clear) -> None:
    def send(value: dict[str, Any], session: Session):
        return _receive(talker, session, value["text"], value["files"])

    def send_example(session: Session, event: gr.SelectData):
        example, files = examples[event.index]  # the client's word is taken for the number only
        return _receive(talker, session, example.text, [str(file) for file in files])

    def respond(session: Session, seed: float | None):
        yield from _respond(talker, session, int(seed or 0))

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    for event, function, inputs in ((box.submit, send, [box, session]), (chat.example_select, send_example, [session])):
        sent = event(function, inputs, [chat, box], **quiet)
        sent.success(respond, [session, seed], [chat, box], concurrency_limit=8, concurrency_id="reply", **quiet).then(
            lambda: gr.MultimodalTextbox(interactive=True), None, box, **quiet
        )
    for event in (clear.click, chat.clear):
        event(_clear, session, [chat, box], **quiet)


def _receive(talker: Talker, session: Session, text: str, files: list[str]):
    """Check and show the user's message; the box is emptied and closed until the reply is there."""
    if session.asked:
        raise gr.Error("One moment: the last reply is not finished.", title="Busy", print_exception=False)
    if not text.strip() and not files:
        raise gr.Error("Write something or attach a file.", title="Nothing to send", print_exception=False)
    try:
        session.ask(text.strip(), files)
    except ERRORS as error:
        raise _toast(error) from error
    session.cancelled = Event()
    return [*session.shown, _waiting(talker).bubble()], gr.MultimodalTextbox(value=None, interactive=False)


def _respond(talker: Talker, session: Session, seed: int) -> Iterator[tuple[Any, Any]]:
    """The reply as it comes. Whatever goes wrong, the conversation is as it was and the message back in the box."""
    assert session.cancelled is not None
    growing, cancelled = _waiting(talker), session.cancelled
    try:
        for event in talker.reply(session.messages, seed, cancelled):
            if cancelled.is_set():
                return
            if isinstance(event, Reply):
                session.answer(event)
                _tell_of_dropped_turns(event)
                yield session.shown, gr.skip()
                return
            if isinstance(event, Text):
                growing.text = event.so_far
            elif isinstance(event, Progress):
                growing.progress(event)
            yield [*session.shown, growing.bubble()], gr.skip()
    except Cancelled:
        return  # the session was cleared or closed: nothing is left to show
    except Exception as error:
        if cancelled.is_set():
            raise
        asked = session.take_back()
        yield session.shown, gr.MultimodalTextbox(value=asked)
        if isinstance(error, ERRORS):
            raise _toast(error) from error
        raise


def _clear(session: Session):
    session.cancel()
    session.messages, session.shown, session.asked = [], [], None
    return [], gr.MultimodalTextbox(value=None, interactive=True)


def _waiting(talker: Talker) -> Growing:
    return Growing("…" if talker.ready else "*The model is waking up …*")


def _toast(error: Exception) -> gr.Error:
    """An error that the page shows as a sentence; names of files in it are not read as HTML."""
    return gr.Error(html.escape(str(error)), title="That did not work", print_exception=False)


def _tell_of_dropped_turns(reply: Reply) -> None:
    if reply.dropped_turns:
        gr.Info(f"The conversation is long: its {reply.dropped_turns} oldest messages were left out.")
