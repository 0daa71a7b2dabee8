"""A stage leaves a folder that chat takes, whatever the name of the core that it wrote."""

import json
import shutil
from dataclasses import replace

import pytest

from nextgpt_lite import AnyToAny
from nextgpt_lite.cli import main
from tests.tiny_model import medium
from tests.train.short_recipes import PICTURE, stage
from train.run import run_recipe


@pytest.fixture
def base(tiny_folder, tmp_path, monkeypatch):
    """Components to start from: no core, no manifest."""
    monkeypatch.chdir(tmp_path)
    without = shutil.ignore_patterns("core*", "manifest.json")
    return shutil.copytree(tiny_folder, tmp_path / "model", ignore=without)


def test_a_model_can_be_talked_to_after_any_stage(base, tmp_path, capsys):
    for name, core in (("encoding_alignment", "core_encoding"), ("decoding_alignment", "core_decoding")):
        run_recipe(stage(name, base, steps=1), tmp_path / name)
        assert json.loads((base / "manifest.json").read_text())["components"]["core"]["path"] == core
        for folder in (base, tmp_path / name):
            reply = AnyToAny.from_pretrained(folder).chat(
                [{"role": "user", "content": [medium("image")]}], max_new_tokens=3
            )
            assert isinstance(reply.text, str)
    capsys.readouterr()
    assert main(["chat", "hello", "--model", str(tmp_path / "encoding_alignment"), "--json"]) == 0
    assert "text" in json.loads(capsys.readouterr().out)


def test_training_another_component_keeps_the_manifest_valid(base, tmp_path):
    run_recipe(stage("encoding_alignment", base, steps=1), tmp_path / "run")
    before = json.loads((base / "manifest.json").read_text())
    run_recipe(replace(PICTURE, model=str(base), steps=1), tmp_path / "other")
    after = json.loads((base / "manifest.json").read_text())
    changed = {name for name in after["components"] if after["components"][name] != before["components"][name]}
    assert changed == {"image_decoder"} and after["components"]["core"]["path"] == "core_encoding"


def test_a_folder_without_a_core_gets_no_manifest(tmp_path):
    run_recipe(replace(PICTURE, model=str(tmp_path / "model"), steps=1), tmp_path / "run")
    assert not (tmp_path / "model/manifest.json").exists()
