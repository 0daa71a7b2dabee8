"""Visitors are known by a key, keep their conversations, can export them, and are forgotten in time."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from nextgpt_lite.conversation_media import read_conversation
from tests.demo.taught import SEEN
from tests.tiny_model import medium


@pytest.fixture
def visitors(cache):
    from demo.page.conversations import Visitors

    visitors = Visitors(lifetime=1000)
    yield visitors
    visitors.close()


def test_who_has_the_key_gets_the_conversations(visitors):
    visitor = visitors.enter(None, "en")
    assert visitors.enter(visitor.identity, "zh") is visitor
    assert len(visitor.identity) == 32
    stranger = visitors.enter("guessed", "en")
    assert stranger is not visitor and stranger.identity != "guessed"


def test_visitors_expire_with_their_files(visitors, monkeypatch):
    from demo.page import conversations as history

    visitor = visitors.enter(None, "en")
    monkeypatch.setattr(history.time, "monotonic", lambda: visitor.seen + 1001)
    other = visitors.enter(visitor.identity, "en")
    assert other is not visitor and not visitor.folder.exists()


def test_the_oldest_visitor_goes_when_there_are_too_many(visitors, monkeypatch):
    monkeypatch.setattr("demo.page.conversations.MAX_VISITORS", 2)
    first, *others = [visitors.enter(None, "en") for _ in range(4)]
    assert not first.folder.exists() and all(visitor.folder.exists() for visitor in others[-2:])


def test_a_visitors_files_lie_in_their_folder_and_go_with_it(visitors, cache, tmp_path):
    visitor = visitors.enter(None, "en")
    save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy")
    turn = visitor.current.read_message("", [str(tmp_path / "cloud.npy")])
    assert visitor.folder.is_relative_to(cache)
    assert turn.shown == [visitor.folder / "attached-1.png"] and turn.message["content"][0]["type"] == "points"
    visitors.close()
    assert not Path(visitor.folder).exists()


def test_only_so_many_conversations_are_kept(visitors, monkeypatch):
    monkeypatch.setattr("demo.page.conversations.MAX_CONVERSATIONS", 2)
    visitor = visitors.enter(None, "en")
    for _ in range(4):
        visitor.current.turns.append(visitor.current.read_message("hello", []))
        visitor.begin()
    assert len(visitor.conversations) == 2 and visitor.current.identity in visitor.conversations


@pytest.fixture
def exported(pool, visitor, tmp_path):
    """A conversation with a picture shown and one drawn; the picture's file has an awkward name."""
    seen = save_medium(Medium("image", medium("image")["array"]), tmp_path / "a picture & <more>.png")
    for text, files in (("what is this?", [str(seen)]), ("draw a bell", [])):
        settings = {"seed": 0, "steps": 1}
        streamed = visitor.current.request_reply(visitor.current.read_message(text, files), pool.engine(), settings)
        list(streamed.watch())
    return visitor


def test_the_folder_is_read_by_the_command_line(exported, tmp_path):
    from demo.page.conversations import write_folder

    with zipfile.ZipFile(write_folder(exported)) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "c")
    assert names == {"conversation.json", "1-user-1.png", "2-model-1.png"}
    messages = read_conversation(tmp_path / "c" / "conversation.json")
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    np.testing.assert_array_equal(messages[0]["content"][0]["array"], medium("image")["array"])
    assert load_medium(tmp_path / "c" / "2-model-1.png").modality == "image"
    assert json.loads((tmp_path / "c" / "conversation.json").read_text())["messages"][1]["content"][0]["text"] == SEEN


def test_the_page_holds_its_media_and_names_no_other_file(exported):
    from demo.page.conversations import write_page

    page = write_page(exported).read_text()
    assert page.count('src="data:image/png;base64,') == 2 and page.count("src=") == 2
    assert SEEN in page and "what is this?" in page
    assert "<more>" not in page and "&lt;more&gt;" in page
    assert "http" not in page
