"""The chat on a real, tiny model: what streams, what is refused, what stays."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from tests.demo.taught import HELLO, SEEN
from tests.tiny_model import medium

PLAIN: dict[str, Any] = {
    "seed": 0, "steps": 2, "guidance": None, "temperature": 0.0, "language": None,
    "allowed_media": ("image", "video", "audio"),
}  # fmt: skip


@pytest.fixture
def chat(pool):
    from demo.page.chat import Chat

    return Chat(pool)


def say(chat, visitor, text: str, *files: Path, **changes) -> list[Any]:
    """Send a message; everything that the chat showed meanwhile."""
    value = {"text": text, "files": [str(file) for file in files]}
    return [shown[0] for shown in chat.send(visitor, value, {**PLAIN, **changes}, chat.pool.first)]


def words(bubble: dict[str, Any]) -> str:
    """Text and cards of a bubble."""
    parts = [part if isinstance(part, str | dict) else part.value for part in bubble["content"]]
    return " ".join(part for part in parts if isinstance(part, str))


@pytest.fixture
def picture(tmp_path) -> Path:
    return save_medium(Medium("image", medium("image")["array"]), tmp_path / "seen.png")


def test_text_streams_then_cards_then_media(chat, visitor):
    shown = say(chat, visitor, "film it and play it", steps=60)  # a page that looks seldom still sees some of them
    said = [words(bubbles[-1]) for bubbles in shown]
    assert said[0] == "…" and any("Watch" in each for each in said)
    assert any(re.search(r"filming.*step \d+ of 60.*cancel-0", each, re.DOTALL) for each in said)
    last = shown[-1][-1]["content"]
    assert last[0] == "Watch and listen."
    assert [load_medium(part["path"]).modality for part in last[1:]] == ["video", "audio"]
    assert all(Path(part["path"]).is_relative_to(visitor.current.folder) for part in last[1:])


def test_a_picture_is_seen_and_the_next_reply_knows_of_it(chat, visitor, picture):
    assert words(say(chat, visitor, "what is this?", picture)[-1][-1]) == SEEN
    shown = say(chat, visitor, "draw a bell")[-1]
    assert [bubble["role"] for bubble in shown] == ["user", "assistant"] * 2
    assert load_medium(shown[-1]["content"][1]["path"]).modality == "image"
    roles = [message["role"] for message in visitor.current.messages()]
    assert roles == ["user", "assistant", "user"]


def test_a_question_may_be_asked_twice_with_the_same_picture(chat, visitor, picture):
    for turns in (1, 2):
        replies = chat.send(visitor, {"text": "what is this?", "files": [str(picture)]}, PLAIN, chat.pool.first)
        *_, (bubbles, box, _) = list(replies)
        assert len(bubbles) == 2 * turns and box.submit_btn and not box.stop_btn


def test_media_that_may_not_be_answered_with_are_left_out(chat, visitor):
    shown = say(chat, visitor, "film it and play it", allowed_media=("audio",))[-1]
    assert [load_medium(part["path"]).modality for part in shown[-1]["content"][1:]] == ["audio"]


def test_one_medium_is_cancelled_alone(chat, visitor):
    replies = chat.send(visitor, {"text": "film it and play it", "files": []}, {**PLAIN, "steps": 40}, chat.pool.first)
    for bubbles, _, _ in replies:
        if "cancel-0" in words(bubbles[-1]):
            chat.cancel_medium(visitor, 0)
    content = bubbles[-1]["content"]
    assert "video: cancelled" in content[1].value and load_medium(content[2]["path"]).modality == "audio"


def test_stopping_keeps_what_is_there(chat, visitor):
    replies = chat.send(visitor, {"text": "film it and play it", "files": []}, {**PLAIN, "steps": 90}, chat.pool.first)
    for bubbles, _, _ in replies:
        if "cancel-0" in words(bubbles[-1]):
            chat.stop(visitor)
    assert "Watch and listen." in words(bubbles[-1]) and "(stopped)" in words(bubbles[-1])
    assert "video: cancelled" in words(bubbles[-1]) and "progress" not in words(bubbles[-1])
    assert visitor.current.running is None
    assert words(say(chat, visitor, "hello")[-1][-1]) != ""


def test_a_bad_file_is_refused_in_a_sentence_and_nothing_changes(chat, visitor, tmp_path):
    (tmp_path / "notes<b>.png").write_text("no picture")
    with pytest.warns(UserWarning, match=re.escape("notes&lt;b&gt;.png is mislabelled")):
        say(chat, visitor, "look", tmp_path / "notes<b>.png")
    assert visitor.current.turns == []


def test_nothing_is_not_sent(chat, visitor):
    with pytest.warns(UserWarning, match="Write a message"):
        say(chat, visitor, "  ")
    assert visitor.current.turns == []


def test_a_message_that_does_not_fit_comes_back_to_the_box(chat, visitor):
    say(chat, visitor, "hello")
    long = "word " * 799
    with pytest.warns(UserWarning, match="tokens, more than"):
        *_, (bubbles, box, _) = list(chat.send(visitor, {"text": long}, PLAIN, chat.pool.first))
    assert box.value["text"] == long.strip() and words(bubbles[-1]) == HELLO
    assert len(visitor.current.turns) == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch's, told anew by pytest.warns
def test_a_reply_that_cannot_be_written_ends_in_a_sentence(chat, visitor, caplog, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr("demo.page.conversations.save_for_browser", full)
    with pytest.warns(UserWarning, match="the reply could not be saved"):
        *_, (bubbles, box, _) = list(chat.send(visitor, {"text": "film it and play it"}, PLAIN, chat.pool.first))
    assert bubbles == [] and box.value["text"] == "film it and play it" and visitor.current.running is None
    assert "the disk is full" in caplog.text and visitor.visitors.storage.titles(visitor.identity) == {}


def test_a_setting_out_of_range_is_refused(chat, visitor):
    with pytest.warns(UserWarning, match="steps is 5000"):
        say(chat, visitor, "hello", steps=5000)
    assert visitor.current.turns == []


def test_again_takes_the_next_seed(chat, visitor):
    before = load_medium(say(chat, visitor, "film it and play it")[-1][-1]["content"][1]["path"]).array
    again = [shown[0] for shown in chat.again(visitor, PLAIN, chat.pool.first)][-1]
    assert len(visitor.current.turns) == 1 and visitor.current.turns[0].settings["seed"] == 1
    after = load_medium(again[-1]["content"][1]["path"]).array
    assert (before != after).any()


def test_edit_goes_on_from_the_edited_message(chat, visitor, picture):
    say(chat, visitor, "tell me", picture)
    say(chat, visitor, "hello")
    shown = [each[0] for each in chat.edit(visitor, 0, "what is this?", PLAIN, chat.pool.first)][-1]
    assert len(shown) == 2 and words(shown[-1]) == SEEN
    kept = Path(shown[0]["content"][0]["path"])
    assert kept.name == picture.name and kept.read_bytes() == picture.read_bytes()  # its file has stayed


def test_undo_gives_the_message_back(chat, visitor):
    say(chat, visitor, "hello")
    bubbles, box, _ = chat.undo(visitor)
    assert bubbles == [] and box.value["text"] == "hello" and visitor.current.turns == []


def test_a_reply_goes_on_though_nobody_looks(chat, visitor):
    replies = chat.send(visitor, {"text": "film it and play it", "files": []}, PLAIN, chat.pool.first)
    next(replies)
    next(replies)
    replies.close()  # the page is reloaded
    shown = [each[0] for each in chat.resume(visitor, chat.pool.first)][-1]
    assert words(shown[-1]).startswith("Watch and listen.") and len(shown[-1]["content"]) == 3


def test_conversations_are_apart(chat, visitor):
    say(chat, visitor, "hello")
    first = visitor.current
    visitor.begin()
    assert visitor.current.turns == [] and visitor.begin() is visitor.current
    visitor.go_to(first.identity)
    assert visitor.current is first and first.title == "hello"
    assert visitor.go_to("nobody's") is first
    visitor.forget()
    assert first.identity not in visitor.conversations and visitor.current.turns == []


def test_text_is_shown_as_it_was_typed_and_generated(chat, visitor, monkeypatch):
    typed = "![](http://example.org/a.png) <img src=x> **bold** &lt;"
    shown = say(chat, visitor, typed)[-1]
    escaped = "![](http://example.org/a.png) &lt;img src=x&gt; **bold** &amp;lt;"
    assert shown[0]["content"] == [escaped]
    turn = visitor.current.turns[0]
    turn.kept = replace(turn.kept, text=typed)
    assert turn.bubbles("en", "")[1]["content"][0] == escaped


def test_words_follow_the_language(chat, visitor):
    visitor.language = "zh"
    shown = say(chat, visitor, "film it and play it")
    assert any("正在拍视频" in words(bubbles[-1]) for bubbles in shown)
