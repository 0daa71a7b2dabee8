"""A large file is hashed once, and again when it has changed."""

import os
import time

import pytest

from data import hashes
from data.atomic import hash_file, hash_folder


@pytest.fixture
def large(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", 0)
    path = tmp_path / "model" / "weights"
    path.parent.mkdir()
    path.write_bytes(os.urandom(hashes.LEAST))
    return path


def reading_forbidden(monkeypatch):
    def fail(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(hashes, "hash_file", fail)
    monkeypatch.setattr(hashes, "hash_folder", fail)


def test_the_second_time_nothing_is_read(large, monkeypatch):
    assert hashes.kept_hash(large) == hash_file(large)
    assert hashes.kept_hash(large.parent) == hash_folder(large.parent)
    reading_forbidden(monkeypatch)
    hashes.kept_hash(large)
    hashes.kept_hash(large.parent)


def test_another_content_of_the_same_size_is_noticed(large):
    before = hashes.kept_hash(large)
    time.sleep(0.01)
    large.write_bytes(os.urandom(hashes.LEAST))
    assert hashes.kept_hash(large) == hash_file(large) != before
    os.utime(large, ns=(1, 1))  # with times of its own choice
    assert hashes.kept_hash(large) == hash_file(large)


def test_small_and_fresh_files_are_always_read(large, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.write_bytes(b"a few bytes")
    hashes.kept_hash(small)
    monkeypatch.setattr(hashes, "SETTLED", 1000)
    hashes.kept_hash(large)
    assert not (tmp_path / "cache").exists()


def test_without_a_place_to_keep_it_it_is_read(large, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(large / "no folder"))
    assert hashes.kept_hash(large) == hash_file(large)
