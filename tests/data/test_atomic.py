"""Atomic writing: the new content or the old, and nothing beside it."""

import hashlib
import os
from pathlib import Path

import pytest

from data.atomic import atomic_file, atomic_folder, hash_file, hash_folder, replace_folder, write_json, write_text


def test_a_file_appears_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"ü": 1}, ensure_ascii=False)
    assert path.read_text(encoding="utf-8") == '{\n  "ü": 1\n}\n'
    path.chmod(0o640)
    write_text(path, "again")
    assert path.read_text() == "again" and path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.npy"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        _fail_in_file(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_is_swapped_in_when_it_is_complete(tmp_path, exists):
    folder = tmp_path / "deep" / "out"
    if exists:
        write_text(folder / "old.txt", "old")
    with atomic_folder(folder) as temporary:
        (temporary / "new.txt").write_text("new")
        assert folder.exists() is exists
    assert [path.name for path in folder.iterdir()] == ["new.txt"]
    with pytest.raises(KeyboardInterrupt):
        _fail_in_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["new.txt"] and list(folder.parent.iterdir()) == [folder]


def test_the_old_folder_comes_back_when_the_renaming_fails(tmp_path, monkeypatch):
    write_text(tmp_path / "out" / "old.txt", "old")
    (tmp_path / "new").mkdir()
    rename = os.replace

    def refuse_new(source, target):
        if Path(source).name == "new":
            raise OSError("read-only")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse_new)
    with pytest.raises(OSError, match="read-only"):
        replace_folder(tmp_path / "new", tmp_path / "out")
    assert (tmp_path / "out" / "old.txt").read_text() == "old"


def test_a_link_to_a_folder_is_replaced_and_its_target_stays(tmp_path):
    write_text(tmp_path / "target" / "old.txt", "old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "new.txt").write_text("new")
    assert (tmp_path / "link" / "new.txt").is_file() and not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target" / "old.txt").is_file() and len(list(tmp_path.iterdir())) == 2


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    write_text(tmp_path / "out", "a file")
    with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "a file" and len(list(tmp_path.iterdir())) == 1


def test_hashes(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.bin").write_bytes(b"x" * 3_000_000)
    (tmp_path / "a.txt").write_bytes(b"text")
    assert hash_file(tmp_path / "a.txt") == hashlib.sha256(b"text").hexdigest()
    assert hash_folder(tmp_path) == hashlib.sha256(b"a.txttextb/c.bin" + b"x" * 3_000_000).hexdigest()


def _fail_in_file(path):
    with atomic_file(path) as temporary:
        assert temporary.suffix == path.suffix
        assert temporary.parent == path.parent
        temporary.write_text("half")
        raise KeyboardInterrupt


def _fail_in_folder(folder):
    with atomic_folder(folder) as temporary:
        (temporary / "half.txt").write_text("half")
        raise KeyboardInterrupt
