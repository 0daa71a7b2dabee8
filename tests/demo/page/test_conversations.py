"""Visitors are known by a key, keep their conversations, and are forgotten in time."""

from pathlib import Path

import pytest

from data.media.loading import Medium
from data.media.saving import save_medium
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
