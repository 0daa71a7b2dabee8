"""Folders of plain texts: what is read, what is kept back, what is refused."""

import pytest

from data.texts import Text, TextsError, hashes, read_texts, split_texts, write_split


def test_texts_are_read_by_name(tmp_path):
    (tmp_path / "b.txt").write_text("zweiter Text: schöne Grüße", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    (tmp_path / "notes.md").write_text("no text")
    assert read_texts(tmp_path) == [Text("a.txt", "first"), Text("b.txt", "zweiter Text: schöne Grüße")]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "expected files named"), (b"caf\xe9", "a.txt is no UTF-8 text: .* at byte 3"), (b" \n", "a.txt is empty")],
)
def test_what_is_no_text_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(TextsError, match=said):
        read_texts(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(TextsError, match="no folder of texts at"):
        read_texts(tmp_path / "gone")


def test_the_smallest_files_that_make_up_the_share_are_kept_back():
    texts = [Text("a", "x" * 70), Text("b", "x" * 8), Text("c", "x" * 12), Text("d", "x" * 10)]
    for share, kept in ((0.05, "b"), (0.08, "b"), (0.1, "bd"), (0.3, "bcd")):
        trained_on, held_out = split_texts(texts, share)
        assert "".join(text.name for text in held_out) == kept
        assert {text.name for text in trained_on} == set("abcd") - set(kept)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(TextsError, match="between 0 and 1"):
        split_texts([Text("a", "x"), Text("b", "y")], share)


def test_something_must_be_left_to_train_on():
    with pytest.raises(TextsError, match="1 texts leave none to train on"):
        split_texts([Text("a", "x")], 0.1)


def test_the_split_is_known_by_hash_whatever_the_names(tmp_path):
    a, b = Text("a", "first"), Text("b", "second")
    write_split([a], [b], tmp_path)
    assert hashes(tmp_path, "trained_on") == {Text("renamed", "first").sha256}
    assert hashes(tmp_path, "held_out") == {b.sha256}
    with pytest.raises(TextsError, match=r"expected texts\.json"):
        hashes(tmp_path / "gone", "held_out")
