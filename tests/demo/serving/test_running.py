"""Where page and server listen, by which names, with which keys; what a process leaves."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from demo.serving import running
from demo.serving.folders import lock, temporary_folder
from demo.serving.guard import Guard, host_name, sent_key
from nextgpt_lite.cli import main

ROOT = Path(__file__).parents[3]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    running.add_arguments(parser, 8000)
    return parser.parse_args(arguments)


def test_keys_come_from_the_command_line_a_file_and_the_environment(tmp_path, monkeypatch):
    (tmp_path / "keys").write_text("\ufeffone\n\n  two  \n", encoding="utf-8")
    monkeypatch.setenv("NEXTGPT_LITE_KEY", "three")
    assert running.read_keys(parsed("--key", "zero", "--key-file", str(tmp_path / "keys"))) == [
        "zero", "three", "one", "two",
    ]  # fmt: skip
    monkeypatch.delenv("NEXTGPT_LITE_KEY")
    assert running.read_keys(parsed()) == []


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "holds no key"), (b" \n\n", "holds no key"), (b"\xff\xfe\x00", "no text file")]
)
def test_a_file_without_a_key_is_refused(tmp_path, content, sentence):
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        running.read_keys(parsed("--key-file", str(tmp_path / "keys")))


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "a\tb"])
def test_a_key_that_no_header_can_hold_is_refused(key):
    with pytest.raises(ValueError, match="key 1 is empty or has blanks"):
        running.read_keys(parsed("--key", key))


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_an_occupied_port_is_said_at_once_in_a_sentence(command, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main([command, "--port", port]) == 2
    sentence = f"nextgpt-lite {command}: port {port} is in use already: end the other program, or give another --port\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "99999"], "--port is 99999: expected 0 to 65535"),
        (["--port", "-1"], "--port is -1"),
        (["--host", "203.0.113.7", "--key", "k"], "203.0.113.7 is no address of this machine"),
        (["--host", "no.such.host.invalid", "--key", "k"], "is no address of this machine"),
        (["--key-file", "nowhere"], "nowhere"),
    ],
)
@pytest.mark.parametrize("command", ["demo", "serve"])
def test_what_cannot_be_listened_at_ends_in_a_sentence(command, arguments, sentence, capsys):
    assert main([command, *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1"])
def test_a_page_for_other_machines_wants_a_key(host, capsys, monkeypatch):
    monkeypatch.delenv("NEXTGPT_LITE_KEY", raising=False)
    assert main(["demo", "--host", host]) == 2
    error = capsys.readouterr().err
    assert "give a password" in error and "--key-file" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "name", "known"),
    [
        ((), "localhost", True), ((), "::1", True), ((), "evil.example", False), ((), "10.0.0.1", False),
        (("--allow-host", "My.Name"), "my.name", True), (("--host", "::1"), "127.0.0.1", True),
        (("--host", "0.0.0.0"), "10.0.0.1", True), (("--host", "0.0.0.0"), "fe80::1", True),
        (("--host", "0.0.0.0"), "server", True), (("--host", "0.0.0.0"), "evil.example", False),
        (("--host", "0.0.0.0"), "", False), (("--host", "0.0.0.0", "--key", "k"), "any.example", True),
        (("--host", "0.0.0.0", "--allow-host", "a.b"), "any.example", False),
    ],
)  # fmt: skip
def test_by_which_names_it_may_be_called(arguments, name, known):
    args = parsed(*arguments)
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("known"))])
    guard = Guard(app, keys=args.key, hosts=running.allowed_hosts(args))
    headers = {"host": f"[{name}]" if ":" in name else name, "authorization": "Bearer k"}
    assert TestClient(guard).get("/", headers=headers).status_code == (200 if known else 403)


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:80", "a"), ("A.b", "a.b"), ("[::1]", "::1"), ("[::1]:80", "::1"), ("::1", ""), ("a@b", ""), ("a b", ""),
     ("a/b", ""), ("[::1", ""), ("a:b", ""), ("", ""), ("a,b", ""), ("a:80:80", ""), ("a\x00", "")],
)  # fmt: skip
def test_names_in_host_headers(host, name):
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("value", "key"),
    [("Bearer a", "a"), ("bearer  a ", "a"), ("Basic dXNlcjprZXk=", "key"), ("basic dXNlcjprOmV5", "k:ey"), ("a", ""),
     ("Basic !", ""), ("Basic /w==", ""), ("Basic", ""), ("Digest a", ""), ("", "")],
)  # fmt: skip
def test_keys_in_authorization_headers(value, key):
    assert sent_key(Headers({"authorization": value})) == key


def test_the_folder_of_a_process_that_was_killed_goes_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import time, demo.serving.folders as f\nwith f.temporary_folder('x-') as p:\n"
    code += " print(p, flush=True), time.sleep(99)"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().decode().strip())
        with temporary_folder("x-") as mine:
            assert theirs.is_dir() and mine.is_dir() and tempfile.gettempdir() == os.environ["TMPDIR"] == str(mine)
        other.send_signal(signal.SIGKILL)
    assert theirs.is_dir() and not mine.exists()
    with temporary_folder("x-"):
        assert not theirs.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_one_owner(tmp_path):
    first = lock(tmp_path)
    assert first is not None and lock(tmp_path) is None
    os.close(first)
    second = lock(tmp_path)
    assert second is not None
    os.close(second)


def test_two_demos_do_not_keep_their_conversations_in_one_folder(tmp_path, capsys):
    descriptor = lock(tmp_path)
    assert descriptor is not None
    assert main(["demo", "--port", "0", "--data", str(tmp_path)]) == 2
    assert "another demo keeps its conversations in" in capsys.readouterr().err
    os.close(descriptor)
