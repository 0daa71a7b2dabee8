"""Components of a model folder that are pretrained parts: named in the manifest, not copied."""

import json
import shutil

import pytest

from data.parts import STAMP, VARIABLE
from nextgpt_lite import checkpoint
from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.checkpoint import CheckpointError, default_model, read_manifest, resolve_model, write_manifest
from tests.tiny_model import build_tiny_model


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A tiny model whose language model and tokenizer lie in the cache folder as a part, linked to from the model."""
    folder = tmp_path / "model"
    build_tiny_model(folder)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    for component in ("language_model", "tokenizer"):
        part = tmp_path / "cache" / "parts" / component
        shutil.move(folder / component, part)
        (part / STAMP).write_text(json.dumps({"part": component}))
        (folder / component).symlink_to(part)
    write_manifest(folder, "tiny")
    for component in ("language_model", "tokenizer"):
        (folder / component).unlink()  # as in a folder that is installed: the manifest is enough
    return folder


def test_a_model_finds_its_parts_in_the_cache_folder(model):
    entry = read_manifest(model)["components"]["language_model"]
    assert entry.keys() == {"class", "part", "sha256"} and entry["part"] == "language_model"
    assert AnyToAny.from_pretrained(model).chat([{"role": "user", "content": "hello"}], max_new_tokens=3)


def test_a_part_that_is_missing_or_another_is_said(model, tmp_path):
    stamp = tmp_path / "cache" / "parts" / "tokenizer" / STAMP
    stamp.write_text('{"part": "tokenizer", "version": 2}')
    with pytest.raises(CheckpointError, match=r"'tokenizer' in .* is not the one in the manifest"):
        AnyToAny.from_pretrained(model)
    stamp.unlink()
    with pytest.raises(
        CheckpointError, match=r"'tokenizer': the pretrained part tokenizer is not in .* models --fetch"
    ):
        checkpoint.component(model, read_manifest(model), "tokenizer")


def test_the_best_embedded_model_with_all_its_parts_is_the_default(tiny_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("nextgpt_lite.checkpoint.WEIGHTS", tmp_path / "weights")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    shutil.copytree(tiny_folder, tmp_path / "weights" / "nano")
    assert default_model() == "nano" and not caplog.records
    with pytest.raises(CheckpointError, match="no model 'small': expected 'nano' or a folder"):
        resolve_model("small")
    small = shutil.copytree(tiny_folder, tmp_path / "weights" / "small")
    manifest = json.loads((small / "manifest.json").read_text())
    entry = manifest["components"]["language_model"]
    manifest["components"]["language_model"] = {"class": entry["class"], "part": "tiny", "sha256": entry["sha256"]}
    (small / "manifest.json").write_text(json.dumps(manifest))
    assert default_model() == "nano" and "small needs the pretrained parts tiny" in caplog.text
    (tmp_path / "cache" / "parts" / "tiny").mkdir(parents=True)
    (tmp_path / "cache" / "parts" / "tiny" / STAMP).write_text("{}")
    assert default_model() == "small"
    (small / "manifest.json").write_text(json.dumps(manifest | {"preview": True}))
    assert default_model() == "nano" and resolve_model("small") == small
