"""Demo and server as processes that are ended or killed: the history is whole, and nothing is left behind.

``NEXTGPT_KILLS`` says how often each is killed, 4 times without it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests.demo.page_client import PageClient
from tests.demo.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("NEXTGPT_KILLS", "4"))


@contextmanager
def running(folder: Path, port: int, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A command of ``nextgpt-lite`` whose temporary files go to ``folder``, and its address once it listens."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nextgpt_lite.cli", *arguments, "--port", str(port)]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", **environment}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("http")).split()[0].removesuffix("/v1")
        try:
            yield process, address.rstrip("/")
        finally:
            process.kill()


def children(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_a_server_that_is_ended_leaves_nothing(tiny_folder, tmp_path):
    png = b"\x89PNG\r\n\x1a\n"
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        with running(tmp_path / "t", 0, "serve", "--model", str(tiny_folder)) as (process, address):
            assert httpx.post(f"{address}/v1/files", files={"file": ("a.png", png)}).status_code == 400
            started = children(process)
            process.send_signal(name)
            assert process.wait(30) == 130
        assert list((tmp_path / "t").iterdir()) == [] and not any(each.is_running() for each in started)


def test_a_demo_that_is_killed_keeps_its_history_and_cleans_up(tiny_folder, tmp_path):
    """Killed at random moments, started again: what was answered is there, files of the dead are not."""
    chance, port, browser, answered = random.Random(5), free_port(), None, 0
    arguments = ("demo", "--model", str(tiny_folder), "--data", str(tmp_path / "data"))
    for _ in range(KILLS):
        with running(tmp_path / "t", port, *arguments) as (process, address):
            page = PageClient(address, browser).enter()
            browser = page.browser
            assert len(page.turns()) >= answered
            page.send("hello")
            answered += 1
            assert len(page.turns()) >= answered
            page.upload("a.png", b"\x89PNG")
            started = children(process)
            event, said = page.events[(page.ids["composer"], "submit")], {"text": "a red bell", "files": []}
            body = {"data": [None, 0, 2, 0, 0, "", ["image", "video"], None], "session_hash": page.session}
            page.post("/gradio_api/queue/join", json=body | {"fn_index": event["id"], "event_data": said})
            time.sleep(chance.random() * 3)
            process.kill()
        assert psutil.wait_procs(started, 20)[1] == []
    with running(tmp_path / "t", port, *arguments) as (process, address):
        page = PageClient(address, browser).enter()
        turns = page.turns()
        assert sum('<p class="text">hello</p>' in turn for turn in turns) == answered
        assert all("aria-busy" not in turn for turn in turns)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    left = [path.relative_to(tmp_path / "data").parts[:2] for path in (tmp_path / "data").rglob("*")]
    assert {parts for parts in left if parts[0] != "media"} == {("conversations.sqlite",)}
    assert {parts for parts in left if parts[0] == "media"} == {("media",), ("media", "conversations")}
    assert list((tmp_path / "t").iterdir()) == []


def test_a_server_that_is_killed_cleans_up_at_the_next_start(tiny_folder, tmp_path):
    """Killed with requests under way; the next one answers, and files of the dead are gone."""
    chance, arguments = random.Random(7), ("serve", "--model", str(tiny_folder))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    ask = {"model": tiny_folder.name, "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(KILLS):
        with running(tmp_path / "t", 0, *arguments) as (process, address), httpx.Client(base_url=address) as client:
            assert client.post("/v1/chat/completions", json=ask, timeout=60).status_code == 200
            upload = {"files": {"file": ("a.png", (tmp_path / "a.png").read_bytes())}, "data": {"purpose": "user_data"}}
            assert client.post("/v1/files", **upload).status_code == 200
            started = children(process)
            waiting = threading.Thread(target=lambda client=client: ask_until_it_dies(client, ask))
            waiting.start()
            time.sleep(chance.random())
            process.kill()
            waiting.join(30)
        assert not waiting.is_alive() and psutil.wait_procs(started, 20)[1] == []
    with running(tmp_path / "t", 0, *arguments) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    assert list((tmp_path / "t").iterdir()) == []


def ask_until_it_dies(client: httpx.Client, ask: dict) -> None:
    with suppress(httpx.HTTPError):
        while True:
            client.post("/v1/chat/completions", json=ask, timeout=20)


def test_a_page_for_other_machines_asks_for_its_key(tiny_folder, tmp_path):
    (tmp_path / "keys").write_text("secret\n")
    arguments = ("demo", "--model", str(tiny_folder), "--data", str(tmp_path / "data"), "--host", "0.0.0.0")
    with running(tmp_path / "t", free_port(), *arguments, "--key-file", str(tmp_path / "keys")) as (_, address):
        assert httpx.get(address).status_code == 401
        assert "conversation" in httpx.get(address, auth=("me", "secret")).text.lower()
        assert PageClient(address, auth=("me", "secret")).enter().turns() == []
