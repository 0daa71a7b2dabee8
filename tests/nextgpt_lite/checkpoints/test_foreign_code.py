"""Code that a model folder brings is never run, and nobody is asked whether it should be."""

import ast
import json
from pathlib import Path

import pytest

from decoders import load_decoder
from nextgpt_lite.cli import main
from nextgpt_lite.weight_files import CheckpointError, refuse_code

ROOT = Path(__file__).parents[3]
ROOMS = ("adapters", "data", "decoders", "demo", "encoders", "evaluation", "nextgpt_lite", "train")
CODE = "from pathlib import Path\nPath('was_run').touch()\n"


def loading_calls():
    """Calls of ``from_pretrained`` and ``from_config`` of Transformers' Auto classes, each with its file and line."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="from_pretrained" | "from_config")):
                        if name.startswith("Auto") and not name.startswith("Autoencoder"):
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_no_class_is_chosen_by_code_of_a_folder():
    calls = dict(loading_calls())
    said = {
        place: [keyword.arg for keyword in call.keywords if keyword.arg in (None, "trust_remote_code")]
        for place, call in calls.items()
    }
    assert len(calls) > 8 and [place for place, arguments in said.items() if not arguments] == []


@pytest.mark.parametrize("file", ["language_model/config.json", "tokenizer/tokenizer_config.json"])
def test_a_folder_that_names_code_of_its_own_is_refused_in_a_sentence(tiny_copy, capsys, monkeypatch, file):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    path = tiny_copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoConfig": "other--code.Config"}}))
    assert main(["chat", "hello", "--model", str(tiny_copy)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(CheckpointError, match="auto_map names code of the model's own"):
        refuse_code(tiny_copy)


@pytest.mark.parametrize(
    "file", ["image_decoder/unet/mine.py", "image_decoder/pipeline.py", "tokenizer/tokenization.py"]
)
def test_a_folder_that_holds_code_is_refused_in_a_sentence(tiny_copy, capsys, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    (tiny_copy / file).write_text(CODE)
    assert main(["chat", "draw a bell", "--model", str(tiny_copy)]) == 2
    assert "is never run" in capsys.readouterr().err and not Path("was_run").exists()


def test_a_pipeline_of_its_own_is_refused_in_a_sentence(tiny_copy):
    index = tiny_copy / "image_decoder" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": ["mine", "Mine"]}))
    with pytest.raises(ValueError, match="_class_name must be text"):
        load_decoder(tiny_copy / "image_decoder")
