"""Conversations outlive the process, are bounded in bytes, and belong to one browser; two pages are two of them."""

import json
import sqlite3
import threading
import time
import zipfile

import numpy as np
import pytest

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from nextgpt_lite.conversation_media import read_conversation
from tests.demo.taught import SEEN
from tests.tiny_model import medium


def ask(visitor, pool, text: str, *files, **settings) -> None:
    """A message, and its reply to the end."""
    turn = visitor.current.read_message(text, [str(file) for file in files])
    list(visitor.current.request_reply(turn, pool.engine(), {"seed": 0, "steps": 1, **settings}).watch())


def identities(visitor) -> list[str]:
    return [entry.identity for entry in visitor.conversations]


@pytest.fixture
def storage(tmp_path):
    """A storage whose conversations are in use where ``in_use`` says so."""
    from demo.page.storage import Storage

    storage, used = None, set()
    storage = Storage(tmp_path, lambda: used)
    storage.used = used
    yield storage
    storage.close()


def keep(storage, identity: str, visitor: str, size: int = 100_000) -> None:
    (storage.folder_of(identity, visitor) / "1-image.png").write_bytes(b"x" * size)
    storage.save(identity, visitor, identity, [])


def test_who_has_the_key_gets_the_conversations(visitors, pool):
    visitor = visitors.enter(None, "en", None, "first")
    assert len(visitor.identity) == 32
    ask(visitor, pool, "hello")
    again = visitors.enter(visitor.identity, "zh")
    assert again.identity == visitor.identity and visitor.current.identity in identities(again)
    stranger = visitors.enter("guessed", "en")
    assert stranger.identity not in (visitor.identity, "guessed")
    stranger.go_to(visitor.current.identity)
    assert stranger.current.turns == [] and visitor.current.identity not in identities(stranger)


@pytest.mark.parametrize("broken", [["a"], {"a": 1}, 7, "", None, "\ud800", "x" * 100_000, True])
def test_a_broken_key_is_a_new_visitor(visitors, broken):
    visitor = visitors.enter(broken, "en", broken)
    assert len(visitor.identity) == 32 and visitor.current.turns == []


def test_two_pages_are_two_conversations_and_a_reload_is_one(visitors, pool):
    first = visitors.enter(None, "en", None, "one")
    ask(first, pool, "hello")
    second = visitors.enter(first.identity, "en", None, "two")
    ask(second, pool, "what is this?")
    ask(first, pool, "hello")
    assert [len(page.current.turns) for page in (first, second)] == [2, 1]
    reloaded = visitors.enter(first.identity, "en", first.current.identity, "three")
    assert reloaded.current is first.current


def test_a_page_opened_later_shows_the_latest_conversation(visitors, pool):
    page = visitors.enter(None, "en", None, "one")
    ask(page, pool, "hello")
    page.entered -= 1000
    later = visitors.enter(page.identity, "en", None, "two")
    assert later.current is page.current  # the first page is closed
    visitors.connected.add("two")
    later.entered -= 1000
    assert visitors.enter(page.identity, "en", None, "three").current.turns == []


def test_history_is_there_after_the_process_was_killed(visitors, pool, cache, tmp_path):
    from demo.page.components.thread import thread
    from demo.page.visitors import Visitors

    seen = save_medium(Medium("image", medium("image")["array"]), tmp_path / "seen.png")
    visitor = visitors.enter(None, "en")
    ask(visitor, pool, "what is this?", seen)
    ask(visitor, pool, "film it and play it")
    pool.engine().call(lambda model: time.sleep(0.2))
    turn = visitor.current.read_message("draw a bell", [])
    streamed = visitor.current.request_reply(turn, pool.engine(), {"seed": 0, "steps": 1})
    seen.unlink()
    other = Visitors(cache.parent)  # as after a kill: nothing was closed
    again = other.enter(visitor.identity, "en", visitor.current.identity)
    first, second, third = again.current.turns
    assert (first.text, first.reply.text, first.modalities) == ("what is this?", SEEN, ["image"])
    np.testing.assert_array_equal(first.message["content"][0]["array"], medium("image")["array"])
    kept = visitor.current.turns[1].reply
    assert [each.modality for each in second.reply.media] == [each.modality for each in kept.media] != []
    for one, two in zip(second.reply.media, kept.media, strict=True):
        np.testing.assert_array_equal(one.array, two.array)
        assert one.rate == two.rate and one.signal_tokens == two.signal_tokens
    assert third.reply.text == "" and third.kept.stopped
    assert "(stopped)" in thread(again.current, "en", "")[-1]
    list(streamed.watch())
    ask(again, pool, "hello")
    assert again.current.turns[-1].reply.text
    other.close()


def test_a_damaged_database_is_said(tmp_path):
    from demo.page.storage import Storage, StorageError

    (tmp_path / "conversations.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="move it away"):
        Storage(tmp_path)


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    from demo.page.storage import Storage

    storage = Storage(tmp_path)
    keep(storage, "a", "me")
    storage.folder_of("begun", "me")
    (storage.media / "unknown").mkdir()
    storage.close()
    storage = Storage(tmp_path)
    assert [folder.name for folder in storage.media.iterdir()] == ["a"] and storage.titles("me") == {"a": "a"}
    storage.close()


def test_a_flood_of_visits_deletes_nothing(visitors, pool):
    visitor = visitors.enter(None, "en", None, "one")
    ask(visitor, pool, "hello")
    visitor.entered -= 1000
    for number in range(300):
        visitors.enter(None, "en", None, str(number))
    assert visitors.enter(visitor.identity, "en").current is visitor.current


def test_one_visitor_cannot_push_out_another(storage, monkeypatch):
    monkeypatch.setattr("demo.page.storage.VISITOR_BYTES", 350_000)
    keep(storage, "theirs", "you")
    for number in range(8):
        keep(storage, f"mine{number}", "me")
    assert list(storage.titles("you")) == ["theirs"] and list(storage.titles("me")) == ["mine5", "mine6", "mine7"]
    assert sorted(folder.name for folder in storage.media.iterdir()) == ["mine5", "mine6", "mine7", "theirs"]


def test_the_one_that_was_not_visited_for_longest_goes_first_and_never_one_in_use(storage, monkeypatch):
    monkeypatch.setattr("demo.page.storage.ALL_BYTES", 350_000)
    for name in ("a", "b", "c"):
        keep(storage, name, name)
    storage.used.add("b")
    storage.visit("a")
    keep(storage, "d", "d")
    assert storage.titles("c") == {} and storage.titles("a") and storage.titles("b")
    keep(storage, "e", "e")
    assert storage.titles("a") == {} and storage.titles("b")


def test_where_nothing_may_go_more_is_refused(storage, monkeypatch):
    from demo.page.storage import StorageError

    monkeypatch.setattr("demo.page.storage.VISITOR_BYTES", 250_000)
    keep(storage, "a", "me")
    storage.used.add("a")
    storage.make_room("me", 100_000)
    with pytest.raises(StorageError, match="no room for more"):
        storage.make_room("me", 200_000)


def test_only_so_many_conversations_of_a_visitor_are_kept(storage, monkeypatch):
    monkeypatch.setattr("demo.page.storage.VISITOR_COUNT", 2)
    for number in range(4):
        keep(storage, str(number), "me")
    assert list(storage.titles("me")) == ["2", "3"]


def test_many_threads_may_write(storage):
    threads = [
        threading.Thread(target=lambda name=name: [keep(storage, f"{name}-{n}", name, 10) for n in range(20)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(storage.titles(name)) for name in "abcd"] == [20] * 4


def test_deleting_a_conversation_stops_its_reply_and_in_the_end_leaves_nothing(visitor, pool, monkeypatch):
    turn = visitor.current.read_message("film it and play it", [])
    streamed = visitor.current.request_reply(turn, pool.engine(), {"seed": 0, "steps": 60})
    place, identity, storage = visitor.current.folder, visitor.current.identity, visitor.visitors.storage
    visitor.forget(identity)
    list(streamed.watch())
    assert turn.kept.stopped and visitor.current.turns == [] and storage.titles(visitor.identity) == {}
    monkeypatch.setattr("demo.page.storage.UNDO_SECONDS", 0.0)
    storage.make_room(visitor.identity)
    assert not place.exists()
    visitor.restore()
    assert storage.titles(visitor.identity) == {} and visitor.current.turns == []


def test_a_deletion_can_be_taken_back_until_the_process_ends(visitors, pool, cache):
    from demo.page.components.conversation_list import conversation_list
    from demo.page.visitors import Visitors

    visitor = visitors.enter(None, "en")
    ask(visitor, pool, "hello")
    kept = visitor.current.identity
    visitor.forget(kept)
    assert identities(visitor) == [] and 'data-act="undo"' in conversation_list(visitor)
    visitor.restore()
    assert visitor.current.identity == kept and visitor.current.turns[0].text == "hello"
    assert 'data-act="undo"' not in conversation_list(visitor)
    stranger = visitors.enter(None, "en")
    stranger.forget(kept)
    assert identities(visitor) == [kept]
    visitor.forget(kept)
    Visitors(cache.parent).close()
    visitor.restore()
    assert identities(visitor) == []


def test_a_conversation_can_be_renamed_and_has_its_title_back(visitor, pool):
    from demo.page.components.conversation_list import conversation_list

    ask(visitor, pool, "hello")
    identity = visitor.current.identity
    visitor.rename(identity, "  a <b> \n name \ud800 ")
    ask(visitor, pool, "hello")
    assert visitor.conversations[0].title == "a <b> name ?" and "a &lt;b&gt; name ?" in conversation_list(visitor)
    visitor.rename(identity, " ")
    assert visitor.conversations[0].title == "hello"
    visitor.visitors.enter(None, "en").rename(identity, "theirs")
    assert visitor.conversations[0].title == "hello"


def test_the_list_begins_with_what_was_said_last_and_has_its_time(visitor, pool, monkeypatch):
    from demo.page.components.conversation_list import conversation_list

    at = time.mktime((2026, 3, 5, 14, 7, 0, 0, 0, -1))
    for text in ("hello", "what is this?"):
        visitor.begin()
        ask(visitor, pool, text)
    visitor.go_to(visitor.conversations[1].identity)
    assert [entry.title for entry in visitor.conversations] == ["what is this?", "hello"]  # looking changes nothing
    ask(visitor, pool, "hello")
    assert [entry.title for entry in visitor.conversations] == ["hello", "what is this?"]
    visitor.visitors.storage._execute("UPDATE conversations SET changed = ?", (at,))
    assert 'datetime="2026-03-05T14:07"' in conversation_list(visitor)


def test_a_database_of_the_version_before_is_read(tmp_path):
    from demo.page.storage import Storage

    old = sqlite3.connect(tmp_path / "conversations.sqlite")
    old.execute(
        "CREATE TABLE conversations (identity TEXT PRIMARY KEY, visitor TEXT NOT NULL, title TEXT, turns TEXT NOT NULL,"
        " bytes INTEGER NOT NULL, visited REAL NOT NULL)"
    )
    old.execute("INSERT INTO conversations VALUES ('a', 'me', 'hello', '[]', 4096, 5.0)")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    for _ in range(2):
        storage = Storage(tmp_path)
        assert storage.entries("me") == [("a", "hello", 5.0)]
        storage.close()


def test_files_of_turns_that_are_gone_are_deleted_and_a_message_changed_keeps_its_own(visitor, pool, tmp_path):
    seen = save_medium(Medium("image", medium("image")["array"]), tmp_path / "seen.png")
    ask(visitor, pool, "what is this?", seen)
    [file] = visitor.current.turns.pop().files
    assert file.is_file()
    ask(visitor, pool, "what is this?", file)
    assert visitor.current.turns[0].files == [file]
    visitor.current.turns.pop()
    ask(visitor, pool, "hello")
    assert list(visitor.current.folder.iterdir()) == []


def test_points_are_shown_as_a_picture_and_turn_in_a_browser(visitor, pool, tmp_path):
    from demo.page.components.thread import thread

    save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy")
    ask(visitor, pool, "", tmp_path / "cloud.npy")
    [turn] = visitor.current.turns
    assert turn.shown == [visitor.current.folder / "1" / "attached-1.png"] and turn.modalities == ["points"]
    points = np.frombuffer((visitor.current.folder / "1" / "attached-1.points").read_bytes(), np.int8).reshape(-1, 3)
    assert 0 < len(points) <= 2048 and np.abs(np.linalg.norm(points.astype(float), axis=1)).max() > 120
    assert '<point-cloud src="/gradio_api/file=' in thread(visitor.current, "en", "")[0]


def test_a_file_that_is_refused_leaves_nothing(visitor, tmp_path):
    seen = save_medium(Medium("image", medium("image")["array"]), tmp_path / "seen.png")
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"bad\.png is mislabelled"):
        visitor.current.read_message("look", [str(seen), str(tmp_path / "bad.png")])
    assert list(visitor.current.folder.iterdir()) == []


@pytest.fixture
def exported(pool, visitor, tmp_path):
    """A conversation with a picture shown and one drawn; the picture's file has an awkward name."""
    seen = save_medium(Medium("image", medium("image")["array"]), tmp_path / "a picture & <more>.png")
    ask(visitor, pool, "what is this?", seen)
    ask(visitor, pool, "draw a bell")
    return visitor


def test_the_folder_is_read_by_the_command_line(exported, tmp_path):
    from demo.page.export import write_folder

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
    from demo.page.export import write_page

    page = write_page(exported).read_text()
    assert page.count('src="data:image/png;base64,') == 2 and page.count("src=") == 2
    assert SEEN in page and "what is this?" in page
    assert "<more>" not in page and "&lt;more&gt;" in page
    assert "http" not in page
