"""The chat on a real, tiny model: what streams, what is refused, what stays."""

from __future__ import annotations

import errno
import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

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


def say(chat, visitor, text: str, *files: Path, editing: int | None = None, **changes) -> list[Any]:
    """Send a message; all that the page showed meanwhile."""
    files_given = [str(file) for file in files]
    return list(chat.send(visitor, text, files_given, {**PLAIN, **changes}, chat.pool.first, editing))


def threads(shown: list[Any]) -> list[list[str]]:
    """The conversations among what was shown, each the HTML of its turns."""
    return [thread for thread, _, _ in shown if isinstance(thread, list)]


def words(turn: str) -> str:
    """The text of a turn's HTML."""
    return html.unescape(re.sub(r"<[^>]+>", " ", turn))


def media(turn: str) -> list[Path]:
    """The files that a turn offers to download."""
    return [Path(unquote(path)) for path in re.findall(r'data-download="/gradio_api/file=([^"]+)"', turn)]


def refused(shown: list[Any]) -> dict[str, Any]:
    """What the field shows at the end: a notice, and the message that is put back."""
    return shown[-1][1]["state"]


@pytest.fixture
def picture(tmp_path) -> Path:
    return save_medium(Medium("image", medium("image")["array"]), tmp_path / "seen.png")


def test_text_streams_then_cards_then_media(chat, visitor):
    shown = threads(say(chat, visitor, "film it and play it", steps=60))  # who looks seldom still sees some of them
    said = [turns[-1] for turns in shown]
    assert "Thinking" in words(said[0]) and any("Watch" in words(each) for each in said)
    assert any(re.search(r'filming.*step \d+ of 60.*data-act="cancel"', each, re.DOTALL) for each in said)
    assert "Watch and listen." in words(said[-1]) and "Thinking" not in words(said[-1])
    assert [load_medium(path).modality for path in media(said[-1])] == ["video", "audio"]
    assert all(path.is_relative_to(visitor.current.folder) for path in media(said[-1]))


def test_a_reply_has_one_toolbar_and_its_media_have_names(chat, visitor):
    [turn] = threads(say(chat, visitor, "film it and play it"))[-1]
    reply = turn.partition('class="reply"')[2]
    assert reply.count('class="tools"') == 1
    assert re.findall(r'data-act="(\w+)"', reply) == ["copy", "retry", "explain", "download"]
    assert 'aria-label="video. Watch and listen."' in reply and 'label="sound. Watch and listen."' in reply
    assert "loop" not in reply and "autoplay" not in reply


def test_the_list_has_the_title_as_soon_as_a_message_is_sent(chat, visitor):
    lists = [each for _, _, each in say(chat, visitor, "hello") if isinstance(each, str)]
    assert len(lists) >= 2 and all("<span>hello</span>" in each for each in lists)


def test_a_picture_is_seen_and_the_next_reply_knows_of_it(chat, visitor, picture):
    [turn] = threads(say(chat, visitor, "what is this?", picture))[-1]
    assert SEEN in words(turn) and 'alt="picture attached: seen.png"' in turn
    first, second = threads(say(chat, visitor, "draw a bell"))[-1]
    assert first.replace("retry", "") != turn and 'data-act="retry"' not in first and 'data-act="retry"' in second
    assert load_medium(media(second)[0]).modality == "image" and 'class="card image small"' in second
    roles = [message["role"] for message in visitor.current.messages()]
    assert roles == ["user", "assistant", "user"]


def test_a_question_may_be_asked_twice_with_the_same_picture(chat, visitor, picture):
    for turns in (1, 2):
        *_, (thread, field, _) = say(chat, visitor, "what is this?", picture)
        assert len(thread) == turns and not field["state"]["running"]


def test_media_that_may_not_be_answered_with_are_left_out(chat, visitor):
    [turn] = threads(say(chat, visitor, "film it and play it", allowed_media=("audio",)))[-1]
    assert [load_medium(path).modality for path in media(turn)] == ["audio"]


def test_one_medium_is_cancelled_alone(chat, visitor):
    for turns, _, _ in chat.send(visitor, "film it and play it", [], {**PLAIN, "steps": 40}, chat.pool.first):
        if isinstance(turns, list) and 'data-index="0"' in turns[-1]:
            chat.cancel_medium(visitor, 0)
    assert "video: cancelled" in words(turns[-1])
    assert [load_medium(path).modality for path in media(turns[-1])] == ["audio"]


def test_stopping_keeps_what_is_there(chat, visitor):
    for turns, _, _ in chat.send(visitor, "film it and play it", [], {**PLAIN, "steps": 90}, chat.pool.first):
        if isinstance(turns, list) and 'data-index="0"' in turns[-1]:
            chat.stop(visitor)
    assert "Watch and listen." in words(turns[-1]) and "(stopped)" in words(turns[-1])
    assert "video: cancelled" in words(turns[-1]) and "progress" not in turns[-1]
    assert visitor.current.running is None
    assert words(threads(say(chat, visitor, "hello"))[-1][-1]) != ""


def test_a_refused_file_leaves_the_message_without_it(chat, visitor, tmp_path, picture):
    (tmp_path / "notes<b>.png").write_text("no picture")
    state = refused(say(chat, visitor, "look", picture, tmp_path / "notes<b>.png"))
    assert state["notice"]["title"] == "Not sent" and "notes<b>.png is mislabelled" in state["notice"]["text"]
    assert state["restore"]["text"] == "look"
    assert [file["path"] for file in state["restore"]["files"]] == [str(picture)]
    assert visitor.current.turns == []


def test_a_refusal_is_said_in_the_language_of_the_page(chat, visitor, tmp_path):
    visitor.language = "zh"
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "b.wav").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "d").write_bytes(b"\0\1\2")
    long = {"text": "字 " * 1999}
    cases = [(each, {"files": [tmp_path / each]}) for each in ("a.png", "b.wav", "c.png", "d")]
    for name, said in [*cases, ("", long), ("", {"steps": 5000, "text": "好"}), ("", {})]:
        text, files = said.pop("text", ""), said.pop("files", [])
        notice = refused(say(chat, visitor, text, *files, **said))["notice"]
        left = " ".join(notice.values()).replace(name, "")
        assert not re.search("[a-z]{3,}", re.sub(r"\b(?:image|text|png|wav)\b", "", left)), notice
        assert re.search("[\u4e00-\u9fff]", notice["text"])


def test_nothing_is_not_sent(chat, visitor):
    assert refused(say(chat, visitor, "  "))["notice"]["text"].startswith("Write a message")
    assert visitor.current.turns == []


def test_a_message_that_does_not_fit_comes_back_to_the_field(chat, visitor):
    say(chat, visitor, "hello")
    long = "word " * 799
    shown = say(chat, visitor, long)
    state = refused(shown)
    assert "tokens, more than" in state["notice"]["text"] and state["restore"]["text"] == long.strip()
    assert HELLO in words(threads(shown)[-1][-1]) and len(visitor.current.turns) == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_reply_that_cannot_be_written_ends_in_a_sentence(chat, visitor, caplog, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr("demo.page.conversations.save_for_browser", full)
    shown = say(chat, visitor, "film it and play it")
    state = refused(shown)
    assert "the reply could not be saved" in state["notice"]["text"] and visitor.current.running is None
    assert state["restore"]["text"] == "film it and play it" and "What shall we make?" in threads(shown)[-1][0]
    assert "the disk is full" in caplog.text and visitor.visitors.storage.titles(visitor.identity) == {}


def test_a_setting_out_of_range_is_refused(chat, visitor):
    assert "steps is 5000" in refused(say(chat, visitor, "hello", steps=5000))["notice"]["text"]
    assert visitor.current.turns == []


def test_again_takes_the_next_seed(chat, visitor):
    before = load_medium(media(threads(say(chat, visitor, "film it and play it"))[-1][-1])[0]).array
    [turn] = threads(list(chat.again(visitor, PLAIN, chat.pool.first)))[-1]
    assert visitor.current.turns[0].settings["seed"] == 1
    assert (before != load_medium(media(turn)[0]).array).any()


def test_an_edited_message_replaces_what_came_after_it(chat, visitor, picture):
    say(chat, visitor, "tell me", picture)
    say(chat, visitor, "hello")
    draft = chat.edit(visitor, 0)[1]["state"]["restore"]
    assert draft["text"] == "tell me" and draft["editing"] == 0 and len(visitor.current.turns) == 2
    files = [Path(file["path"]) for file in draft["files"]]
    [turn] = threads(say(chat, visitor, "what is this?", *files, editing=0))[-1]
    assert SEEN in words(turn) and "tell me" not in turn
    assert files[0].name == picture.name and files[0].read_bytes() == picture.read_bytes()  # its file has stayed


def test_an_edit_that_is_refused_loses_nothing(chat, visitor, tmp_path):
    say(chat, visitor, "hello")
    say(chat, visitor, "film it and play it")
    (tmp_path / "bad.png").write_text("no picture")
    state = refused(say(chat, visitor, "look", tmp_path / "bad.png", editing=0))
    assert state["restore"]["editing"] == 0
    refused(say(chat, visitor, "hello again", editing=0, steps=5000))
    refused(list(chat.again(visitor, {**PLAIN, "steps": 5000}, chat.pool.first)))
    assert [turn.text for turn in visitor.current.turns] == ["hello", "film it and play it"]
    assert all(turn.kept for turn in visitor.current.turns)


def test_a_reply_goes_on_though_nobody_looks(chat, visitor):
    replies = chat.send(visitor, "film it and play it", [], PLAIN, chat.pool.first)
    next(replies)
    next(replies)
    replies.close()  # the page is reloaded
    [turn] = threads(list(chat.resume(visitor, chat.pool.first)))[-1]
    assert "Watch and listen." in words(turn) and len(media(turn)) == 2


def test_conversations_are_apart(chat, visitor):
    say(chat, visitor, "hello")
    first = visitor.current
    visitor.begin()
    assert visitor.current.turns == [] and visitor.begin() is visitor.current
    visitor.go_to(first.identity)
    assert visitor.current is first and first.title == "hello"
    assert visitor.go_to("nobody's") is first


def test_text_is_shown_as_it_was_typed_and_generated(chat, visitor):
    typed = "![](http://example.org/a.png) <img src=x> **bold** &lt; ${alert(1)} `x` {{y}}"
    [turn] = threads(say(chat, visitor, typed))[-1]
    escaped = "![](http://example.org/a.png) &lt;img src=x&gt; **bold** &amp;lt; ${alert(1)} `x` {{y}}"
    assert f'<p class="text">{escaped}</p>' in turn
    kept = visitor.current.turns[0]
    kept.kept = replace(kept.kept, text=typed)
    assert chat.shown(visitor)[0][0].count(escaped) == 2


def test_after_a_refusal_three_things_can_be_tried(chat, visitor, picture):
    from demo.page.components.thread import is_refusal
    from nextgpt_lite.inspection.examples import EXAMPLES

    say(chat, visitor, "what is this?", picture)
    turn = visitor.current.turns[0]
    for text, offered in (
        ("I don't know this. I only know my toy world.", 3),
        ("这个我不认识，我只认识我的玩具世界。", 3),
        (SEEN, 0),
    ):
        turn.kept = replace(turn.kept, text=text)
        shown = re.findall(r'data-example="(\d+)"', chat.shown(visitor)[0][0])
        assert len(set(shown)) == len(shown) == offered
        assert not shown or EXAMPLES[int(shown[0])].given == "image"
    assert not is_refusal("Here is a red bell.") and is_refusal("I can't tell that from this.")


def test_words_follow_the_language(chat, visitor):
    visitor.language = "zh"
    shown = threads(say(chat, visitor, "film it and play it"))
    assert any("正在拍视频" in words(turns[-1]) for turns in shown)
    assert not re.search(r'(?:aria-label|title|alt)="[A-Za-z ]+"', shown[-1][-1])
