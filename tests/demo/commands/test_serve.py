"""``nextgpt-lite serve`` as a process of its own: it starts, answers, survives hostile files, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from nextgpt_lite.cli import main
from tests.data.media.hostile_files import Hostile, hostile_files

ROOT = Path(__file__).parents[3]
FILES = 1000
#: The most resident memory of the server, its decoding processes included, in bytes.
MEMORY = 4 * 2**30


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "nowhere"], "nowhere"),
        (["--batch", "0"], "--batch is 0: expected at least 1"),
        (["--queue", "-1"], "--queue is -1"),
    ],
)
def test_bad_arguments_end_in_a_sentence(capsys, arguments, sentence):
    assert main(["serve", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_taken_port_ends_in_a_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "serve: " in capsys.readouterr().err


@pytest.fixture
def process(tiny_folder, tmp_path):
    """A server process and its address; its temporary files go to ``tmp_path``/temporary."""
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-m", "nextgpt_lite.cli", "serve", "--model", str(tiny_folder), "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split("/v1")[0]
    try:
        while httpx.get(f"{address}/healthz").status_code != 200:
            assert process.poll() is None
            time.sleep(0.2)
        yield process, address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_hostile_files_do_not_harm_the_server(process, tmp_path):
    server, address = process
    folder = tmp_path / "hostile"
    folder.mkdir()
    memory: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            memory.append(tree_memory(server.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with httpx.Client(base_url=f"{address}/v1", timeout=120) as client, ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda each: upload(client, each), hostile_files(folder, FILES, seed=1)))
    finally:
        done.set()
        watcher.join()
    assert [result for result in results if result not in ("refused", "harmless")] == []
    assert Counter(results)["refused"] > FILES // 2
    assert max(memory) < MEMORY
    hello = {"model": "model", "messages": [{"role": "user", "content": "hello"}]}
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
    assert httpx.post(f"{address}/v1/chat/completions", json=hello, timeout=120).status_code == 200
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 130
    assert list((tmp_path / "temporary").glob("nextgpt-lite-serve-*")) == []


def upload(client: httpx.Client, hostile: Hostile) -> str:
    """How the server took a file: "refused" in a sentence, "harmless", or what is wrong."""
    with hostile.path.open("rb") as file:
        response = client.post("/files", files={"file": (hostile.path.name, file)}, data={"purpose": "user_data"})
    if response.status_code == 200:
        client.delete(f"/files/{response.json()['id']}")
        return "harmless" if hostile.harmless else f"{hostile.path.name} was taken in"
    sentence = response.json()["error"]["message"]
    clean = response.status_code in (400, 413) and sentence and "\n" not in sentence and "Traceback" not in sentence
    return "refused" if clean else f"{hostile.path.name}: {response.status_code} {sentence}"


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total
