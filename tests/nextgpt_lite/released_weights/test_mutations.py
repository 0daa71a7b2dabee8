"""Published files that are wrong in any way, or on another base, are refused by name; nothing is written."""

import os
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nextgpt_lite.cli import main
from tests.nextgpt_lite.released_weights.mutations import BASES, FILES, QUICK, WEIGHTS
from tests.nextgpt_lite.released_weights.published import Given, imagebind
from tests.nextgpt_lite.released_weights.published_nextgpt import FORMATS

#: Formats whose files say nothing of the number of layers, and those that hold nothing of their language model.
NO_LAYERS = ("llava_projector",)
NOTHING_OF_THE_BASE = ("llama_adapter_v1", "llava_projector", "llava_lora")


def marked(mutations: Iterable[str]) -> list[Any]:
    """All but the quick ones marked as slow: together they take minutes."""
    return [pytest.param(each, marks=[] if each in QUICK else pytest.mark.slow) for each in mutations]


def refused(name: str, given: Given, folder: Path, capsys, monkeypatch, change=None) -> str:
    """What the command says of the files, changed on disk by ``change``: one line, exit code 2, nothing written."""
    source = given.write(folder / "published")
    if change is not None:
        change(source / given.main)
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    capsys.readouterr()
    assert main(given.words(name, source, folder / "work/model")) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1, printed.err
    assert os.listdir(folder / "work") == []
    return printed.err


def tensors_of(given: Given) -> dict[str, torch.Tensor]:
    content = given.files[given.main]
    return dict(content.get("model", content))


def with_tensors(given: Given, tensors: dict[str, torch.Tensor]) -> Given:
    content: Any = copy(given.files[given.main])
    content = content | {"model": tensors} if "model" in content else tensors
    return replace(given, files=given.files | {given.main: content})


@pytest.mark.parametrize("mutation", marked(WEIGHTS))
@pytest.mark.parametrize("name", FORMATS)
def test_weights(name, mutation, makers, tmp_path, capsys, monkeypatch):
    given = makers(name)
    tensors = tensors_of(given)
    said = WEIGHTS[mutation](tensors)
    sentence = refused(name, with_tensors(given, tensors), tmp_path, capsys, monkeypatch)
    assert any(words in sentence for words in said.split(" | "))


@pytest.mark.parametrize("mutation", marked(FILES))
@pytest.mark.parametrize("name", FORMATS)
def test_files(name, mutation, makers, tmp_path, capsys, monkeypatch):
    change, said = FILES[mutation]
    assert said in refused(name, makers(name), tmp_path, capsys, monkeypatch, change)


@pytest.mark.parametrize("mutation", marked(BASES))
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "meta_llama"])
def test_bases(name, mutation, makers, tmp_path, capsys, monkeypatch):
    if mutation == "fewer layers" and name in NO_LAYERS:
        pytest.skip("its files say nothing of layers")
    if mutation == "another of the same shape" and name in NOTHING_OF_THE_BASE:
        pytest.skip("prompts, projectors and LoRA fit any language model of the same shape")
    make, said = BASES[mutation]
    sentence = refused(name, make(makers(name), tmp_path), tmp_path, capsys, monkeypatch)
    assert any(words in sentence for words in said.split(" | "))


@pytest.mark.parametrize("mutation", marked([*WEIGHTS, *FILES]))
@pytest.mark.parametrize("main", ["imagebind_huge.pth", "point_bert.pt"])
def test_encoder(main, mutation, tiny_huge, tmp_path, capsys, monkeypatch):
    """ImageBind and Point-BERT, of which the first alone will do."""
    given = replace(imagebind(), main=main)
    change = None
    if mutation == "missing" and main == "point_bert.pt":
        pytest.skip("it is not needed")
    if mutation in WEIGHTS:
        tensors = tensors_of(given)
        said = WEIGHTS[mutation](tensors)
        given = with_tensors(given, tensors)
    else:
        change, said = FILES[mutation]
    sentence = refused("imagebind_huge", given, tmp_path, capsys, monkeypatch, change)
    assert any(words in sentence for words in said.removeprefix("key ").split(" | "))
