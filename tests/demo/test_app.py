"""The page on a real, tiny model: what streams, what is refused, what stays; and, slowly, all of it in a browser."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

import demo.command
from data.media_intake import MediaError, Medium, load_medium, save_medium
from nextgpt_lite import Reply
from nextgpt_lite.chat_files import attach, draw_points
from nextgpt_lite.showcase import EXAMPLES, portraits, write_examples
from tests.demo.taught import HELLO, SEEN, taught_model, user
from tests.tiny_model import medium

SECONDS = 1000  # milliseconds


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Iterator[Path]:
    """Gradio's folder; gradio reads its name when it is imported, so the page is imported after this."""
    folder = tmp_path_factory.mktemp("gradio")
    os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    loops, new_event_loop = [], asyncio.new_event_loop

    def kept() -> asyncio.AbstractEventLoop:
        loops.append(new_event_loop())
        return loops[-1]

    with pytest.MonkeyPatch.context() as patch:  # gradio opens event loops for its locks and never closes them
        patch.setattr(asyncio, "new_event_loop", kept)
        yield folder
    asyncio.set_event_loop(None)
    for loop in loops:
        loop.close()


@pytest.fixture(scope="module")
def talker(cache, tiny_folder):
    from demo.talker import Talker

    model = taught_model(tiny_folder)
    talker = Talker(lambda: model)
    yield talker
    talker.close()


@pytest.fixture
def session(cache):
    from demo.session import Session

    session = Session()
    yield session
    session.close()


@pytest.fixture(scope="module")
def address(talker, cache):
    from demo.app import build, launch

    page = build(talker, write_examples(cache))
    yield launch(page, "127.0.0.1", free_port())
    page.close(verbose=False)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def picture_file(folder: Path) -> Path:
    part = medium("image")
    return save_medium(Medium("image", part["array"]), folder / "seen.png")


def test_text_streams_then_progress_then_the_reply(talker):
    from demo.talker import Progress, Text

    events = list(talker.reply([user("film it and play it")], 0, Event()))
    texts = [event.so_far for event in events if isinstance(event, Text)]
    steps = [(event.modality, event.step) for event in events if isinstance(event, Progress)]
    assert len(texts) > 2 and all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert steps == sorted(steps, key=lambda pair: (pair[0] == "audio", pair[1])) and {m for m, _ in steps} == {
        "video",
        "audio",
    }
    assert isinstance(events[-1], Reply) and [m.modality for m in events[-1].media] == ["video", "audio"]


def test_a_reply_that_nobody_waits_for_ends(talker):
    from demo.talker import Cancelled

    cancelled = Event()
    events = talker.reply([user("film it and play it")], 0, cancelled)
    next(events)
    cancelled.set()
    with pytest.raises(Cancelled):
        list(events)
    assert list(talker.reply([user("hello")], 0, Event()))[-1].text == HELLO


def test_the_handlers_stream_a_reply_into_the_chat(talker, session, tmp_path):
    from demo.app import _receive, _respond

    _receive(talker, session, "what is this?", [str(picture_file(tmp_path))])
    shown = [chat for chat, _ in _respond(talker, session, 0)][-1]
    assert shown[-1]["content"][0] == SEEN
    _receive(talker, session, "draw a bell", [])
    stages = [chat[-1]["content"] for chat, _ in _respond(talker, session, 0)]
    assert any("drawing the picture: step 1 of" in str(content) for content in stages)
    assert (
        Path(stages[-1][1]["path"]).is_relative_to(session.folder)
        and load_medium(stages[-1][1]["path"]).modality == "image"
    )
    assert [message["role"] for message in session.messages] == ["user", "assistant"] * 2
    assert session.messages[-1]["content"][1]["array"].shape[2:] == (3,)


def test_a_bad_file_is_refused_in_a_sentence_and_nothing_changes(talker, session, tmp_path):
    from demo.app import _receive, _respond

    (tmp_path / "notes<b>.png").write_text("no picture")
    with pytest.warns(UserWarning, match=re.escape("notes&lt;b&gt;.png is mislabelled")):
        _receive(talker, session, "look", [str(tmp_path / "notes<b>.png")])
    assert session.messages == [] and session.shown == [] and session.asked is None
    assert len(list(_respond(talker, session, 0))) == 1 and session.shown == []


def test_a_message_that_does_not_fit_comes_back_to_the_box(talker, session):
    from demo.app import _receive, _respond

    _receive(talker, session, "hello", [])
    list(_respond(talker, session, 0))
    _receive(talker, session, "word " * 3000, [])
    with pytest.warns(UserWarning, match="tokens, more than"):
        [(chat, box)] = list(_respond(talker, session, 0))
    assert box.value["text"].startswith("word word") and chat[-1]["content"] == [HELLO]
    assert len(session.messages) == 2 and session.asked is None and session.cancelled is None


def test_a_cleared_conversation_gets_no_late_reply(talker, session):
    from demo.app import _clear, _receive, _respond

    _receive(talker, session, "film it and play it", [])
    replies = _respond(talker, session, 0)
    next(replies)
    _clear(session)
    assert list(replies) == [] and session.shown == [] and session.messages == []


def test_files_go_with_the_session(cache, tmp_path):
    from demo.session import Session

    session = Session()
    save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy")
    session.ask("", [str(tmp_path / "cloud.npy")])
    folder = session.folder
    assert folder.is_relative_to(cache) and list(folder.iterdir()) == [folder / "attached-1.png"]
    session.close()
    assert not folder.exists()


def test_points_are_drawn_and_odd_formats_written_anew(tmp_path):
    drawn = draw_points(np.random.default_rng(0).normal(size=(300, 3)))
    assert drawn.shape == (288, 288, 3) and 0.005 < (drawn < 200).any(-1).mean() < 0.2
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "old.bmp")
    part, shown = attach(tmp_path / "old.bmp", tmp_path, 1)
    assert part["type"] == "image" and shown == tmp_path / "attached-1.png"


def test_addresses_are_not_fetched(cache):
    import gradio as gr

    from demo.app import _box

    with gr.Blocks(analytics_enabled=False):
        box = _box()
    with pytest.raises(gr.Error, match="not fetched"):
        box.async_move_resource_to_block_cache("http://127.0.0.1:1/a.png").send(None)


def test_examples_have_files_that_are_taken_in(tmp_path):
    written = write_examples(tmp_path)
    assert len(written) == len(EXAMPLES) >= 5
    assert {load_medium(file).modality for _, files in written for file in files} == {"image", "audio"}
    assert len({picture.tobytes() for picture in portraits(32).values()}) == 16


def test_an_unknown_model_is_said_before_the_page_opens(tmp_path):
    arguments = SimpleNamespace(model=str(tmp_path / "nothing"), host="127.0.0.1", port=free_port())
    with pytest.raises(demo.command.ERRORS, match="no model"):
        demo.command.serve(arguments, tmp_path)


def test_media_errors_are_among_those_that_are_shown():
    assert issubclass(MediaError, demo.command.ERRORS)


@pytest.mark.slow
def test_a_chat_in_a_browser(address, tmp_path):
    (tmp_path / "fake.png").write_text("no picture")
    hosts: set[str] = set()
    expect.set_options(timeout=90 * SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(90 * SECONDS)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        page.goto(address)
        box = page.locator("#box textarea")
        expect(page.locator("#things img")).to_have_count(16)
        send(page, box, "film it and play it")
        expect(page.locator("#chat .making").first).to_be_visible()
        expect(page.locator("#chat video")).to_have_count(1)
        expect(page.locator("#chat .making")).to_have_count(0)
        page.wait_for_function("document.querySelector('#chat video').currentTime > 0")
        send(page, box, "look", tmp_path / "fake.png")
        expect(page.locator(".toast-body")).to_contain_text("fake.png is mislabelled")
        page.wait_for_timeout(2 * SECONDS)  # whatever else the page may do about it
        expect(box).to_have_value("look")
        expect(page.locator("#chat video")).to_have_count(1)
        page.locator("#clear").click()
        expect(page.locator("#chat video")).to_have_count(0)
        send(page, box, "what is this?", picture_file(tmp_path))
        expect(page.locator("#chat .bot").last).to_contain_text(SEEN)
        assert page.locator("#chat .user img").first.evaluate("image => image.naturalWidth") == 128
        browser.close()
    assert hosts - {""} == {"127.0.0.1"}


FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


def chromium() -> str:
    """The browser of the system; a missing one is an error, not a reason to skip."""
    import shutil

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no chromium: install it (apt-get install chromium); make test-slow does so where it can"
    return found


def send(page, box, text: str, file: Path | None = None) -> None:
    expect(box).to_be_enabled(timeout=90 * SECONDS)
    if file:
        page.locator("#box input[type=file]").set_input_files(str(file))
        expect(page.locator("#box .thumbnail-item, #box .thumbnails")).not_to_have_count(0)
    box.fill(text)
    box.press("Enter")
