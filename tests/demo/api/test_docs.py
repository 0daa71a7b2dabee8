"""The examples of docs/server.md run as they stand, but for the address and the name of the model."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

#: OpenAI ends its own video service; the client warns of it, whoever's server it speaks to.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
PAGE = (Path(__file__).parents[3] / "docs/server.md").read_text(encoding="utf-8")


def examples(language: str, address: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found
    return [each.replace("http://127.0.0.1:8000", address).replace('"nano"', '"taught"') for each in found]


def test_python(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    try:
        for example in examples("python", address):
            exec(compile(example, "docs/server.md", "exec"), names)
    finally:
        names["client"].close()
    assert len(names["images"]) == 2 and names["images"][0].startswith(b"\x89PNG")
    assert names["audio"].startswith(b"RIFF") and names["mp4"][4:8] == b"ftyp"
    assert len(capsys.readouterr().out.splitlines()) >= 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(address):
    stream, *others = examples("sh", address)
    lines = subprocess.run(["bash", "-ec", stream], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith("data: {") and "data: [DONE]" in lines
    [looking] = others
    shown = subprocess.run(["bash", "-ec", looking], capture_output=True, text=True, check=True).stdout
    assert '"object":"list"' in shown and '"status":"ok"' in shown and "nextgpt_lite_requests_total" in shown
