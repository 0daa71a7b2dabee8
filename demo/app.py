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

from demo.look import CSS, HEAD, TITLE, masthead, theme
from demo.session import Growing, Session
from demo.talker import Cancelled, Talker
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
        with gr.Row(elem_id="options"):
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed", scale=0)
            clear = gr.Button("Clear", size="sm", elem_id="clear", scale=0)
        _wire(talker, examples, session, chat, box, seed, clear)
    page.queue(max_size=32, default_concurrency_limit=None)
    return page


def launch(page: gr.Blocks, host: str, port: int) -> str:
    """Serve the page and come back; says its address. OSError where the port is taken."""
    _, address, _ = page.launch(
        server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, share=False,
        allowed_paths=[], max_file_size=MAX_BYTES, enable_monitoring=False, run_history=False, footer_links=[],
        ssr_mode=False, pwa=False, mcp_server=False, theme=theme(), css=CSS, head=HEAD,
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
        return _refuse("One moment: the last reply is not finished.")
    if not text.strip() and not files:
        return _refuse("Write something, or attach a file.")
    try:
        session.ask(text.strip(), files)
    except ERRORS as error:
        return _refuse(error)
    return [*session.shown, _waiting(talker).bubble()], gr.MultimodalTextbox(value=None, interactive=False)


def _respond(talker: Talker, session: Session, seed: int) -> Iterator[tuple[Any, Any]]:
    """The reply as it comes. Whatever goes wrong, the conversation is as it was and the message back in the box."""
    if session.asked is None or session.cancelled:
        yield gr.skip(), gr.skip()  # the message was refused; to yield nothing would empty the page
        return
    growing, cancelled = _waiting(talker), Event()
    session.cancelled = cancelled
    try:
        for event in talker.reply(session.messages, seed, cancelled):
            if isinstance(event, Reply):
                session.answer(event)
                _tell_of_dropped_turns(event)
                yield session.shown, gr.skip()
                return
            growing.take(event)
            yield [*session.shown, growing.bubble()], gr.skip()
    except Cancelled:
        return  # cleared, or the visitor has gone: nothing is left to show
    except Exception as error:
        yield session.shown[:-1], gr.MultimodalTextbox(value=session.take_back())
        if not isinstance(error, ERRORS):
            raise
        _refuse(error)
    finally:
        if session.cancelled is cancelled:
            session.cancelled = None


def _clear(session: Session):
    session.clear()
    return [], gr.MultimodalTextbox(value=None, interactive=True)


def _waiting(talker: Talker) -> Growing:
    return Growing("…" if talker.ready else "*The model is waking up …*")


def _refuse(reason: Exception | str) -> tuple[Any, Any]:
    """Say why in a toast and leave the page as it is. Names of files are not read as HTML."""
    gr.Warning(html.escape(str(reason)), title="That did not work")
    return gr.skip(), gr.skip()


def _tell_of_dropped_turns(reply: Reply) -> None:
    if reply.dropped_turns:
        gr.Info(f"The conversation is long: its {reply.dropped_turns} oldest messages were left out.")
