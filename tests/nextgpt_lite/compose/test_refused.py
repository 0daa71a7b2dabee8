"""Parts that are none, are damaged or do not fit: one sentence that names both sides, and nothing is written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nextgpt_lite.checkpoint import WEIGHTS
from nextgpt_lite.cli import main
from nextgpt_lite.language_models import read_tokenizer
from tests.tiny_transformers import save_clip, save_qwen3


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    save_qwen3(folder / "qwen3")
    save_clip(folder / "clip")
    return folder


@pytest.fixture
def here(parts, tmp_path, monkeypatch):
    """A folder with copies of a language model and an encoder, to damage."""
    for name in ("qwen3", "clip"):
        shutil.copytree(parts / name, tmp_path / name)
    (tmp_path / "nano").symlink_to(WEIGHTS / "nano")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *words: str) -> str:
    """What ``compose`` says, which must be one line, with exit code 2 and nothing written."""
    before = sorted(os.listdir())
    assert main(["compose", *words, "--out", "model"]) == 2
    assert sorted(os.listdir()) == before
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err.strip()


BASE = ("language_model=qwen3", "encoder=clip")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("encoder=clip",), "there is no language_model among the parts: give language_model=FOLDER"),
        (("language_model=qwen3",), "there is no encoder among the parts"),
        (("language_model=clip", "encoder=clip"), "language_model: clip holds clip, which is for encoder"),
        (("language_model=qwen3", "encoder=qwen3"), "encoder: qwen3 holds qwen3, which is for language_model"),
        ((*BASE, "image_decoder=nano/audio_decoder"), "holds AudioLDMPipeline, which is for audio_decoder"),
        ((*BASE, "image_decoder=clip"), "image_decoder: clip holds clip, which is for encoder"),
        ((*BASE, "tokenizer=clip"), "tokenizer: clip holds clip, which is for encoder"),
        (("language_model=nano/tokenizer", "encoder=clip"), "language_model: nano/tokenizer holds a tokenizer alone"),
        (("language_model=gone", "encoder=clip"), "language_model: gone is no folder"),
        (("language_model=qwen3", "encoder=clip/config.json"), "is a file: expected the folder of a part"),
        (("language_model=nano", "encoder=clip"), "nano holds no part of a model: it has neither model_index.json"),
        ((*BASE, "encodr=clip"), "unknown part 'encodr': did you mean 'encoder'?"),
        ((*BASE, "core=nano/core"), "unknown part 'core'"),
        ((*BASE, "encoder="), "'encoder=' has no value"),
        ((*BASE, "clip"), "clip and clip are both the encoder: give encoder=FOLDER once"),
        ((*BASE, "gone"), "gone is no folder"),
        ((*BASE, "encoder.layer=-2"), "'encoder.layer=-2' must be part.settings.KEY=VALUE, after part=FOLDER"),
        ((*BASE, "encoder.settings.layer=-9"), "encoder: clip: layer must be from -4 to 3"),
        ((*BASE, "encoder.settings.layers=1"), "unknown key 'layers'"),
        ((*BASE, "language_model.settings.x=1"), "language_model has no settings, not x"),
        ((*BASE, "chat_template=seperator"), "unknown template 'seperator': did you mean 'separator'?"),
        ((*BASE, "chat_template=gone.jinja"), "chat_template: gone.jinja cannot be read"),
        (("gone.yaml",), "no composition at gone.yaml"),
        (
            (*BASE, "tokenizer=nano/tokenizer"),
            "the language model in qwen3 has 600 rows, and the tokenizer in",
        ),
    ],
)
def test_words(here, capsys, words, sentence):
    assert sentence in refused(capsys, *words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("parts: null", "mine.yaml, line 1: parts must be a mapping of names, each value a mapping or text, not None"),
        ("parts: {encoder: 3}", "parts.encoder must be a mapping or text, not 3"),
        ("parts: {encoder: {settings: {layer: -2}}}", "parts.encoder: missing key 'path'"),
        ("parts: {encoder: {path: clip, layer: -2}}", "unknown key 'layer': expected one of path, settings"),
        ("parts: {encoder: {path: clip, settings: 3}}", "settings must be a mapping of names"),
        ("parts: {encodre: clip}", "unknown part 'encodre': did you mean 'encoder'?"),
        ("nme: mine\nparts: {encoder: clip}", "unknown key 'nme': did you mean 'name'?"),
        ("{}", "mine.yaml: missing key 'parts'"),
        ("[1]", "mine.yaml holds no mapping"),
    ],
)
def test_files(here, capsys, text, sentence):
    Path("mine.yaml").write_text(text)
    for words in ((), BASE, ("encoder.settings.layer=-2",)):
        assert sentence in refused(capsys, "mine.yaml", *words)


def change(path: str, **values) -> None:
    Path(path).write_text(json.dumps(json.loads(Path(path).read_text()) | values))


def as_pickle(change: Callable[[dict], object] = lambda state: state, folder: str = "qwen3") -> None:
    """The weights as a pickle of what ``change`` makes of them."""
    state = change(load_file(f"{folder}/model.safetensors"))
    Path(f"{folder}/model.safetensors").unlink()
    torch.save(state, f"{folder}/pytorch_model.bin")


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def shards(names: dict[str, str]) -> None:
    Path("qwen3/model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda: change("qwen3/config.json", model_type="dinov2"), "model_type 'dinov2' is neither a causal language"),
        (lambda: change("qwen3/config.json", model_type="gpt2"), "qwen3 lacks the weight 'transformer.h.0"),
        (lambda: change("qwen3/config.json", hidden_size="x"), "Field 'hidden_size' expected int, got str"),
        (lambda: change("qwen3/config.json", num_attention_heads=0), "the language model cannot be read"),
        (lambda: change("qwen3/config.json", vocab_size=99), "has shape (600, 64), config.json says (99, 64)"),
        (lambda: change("qwen3/config.json", auto_map={"AutoModel": "a.B"}), "qwen3/config.json: auto_map names code"),
        (lambda: Path("qwen3/config.json").write_text("{"), "qwen3/config.json cannot be read: not JSON"),
        (lambda: Path("qwen3/generation_config.json").write_text("{"), "qwen3/generation_config.json cannot be read"),
        (lambda: Path("qwen3/tokenizer.json").write_text("{}"), "tokenizer: qwen3: KeyError"),
        (lambda: Path("qwen3/chat_template.jinja").write_text("{% for"), "the chat template refuses"),
        (lambda: [path.unlink() for path in Path("qwen3").glob("tok*")], "qwen3 has no tokenizer"),
        (lambda: os.truncate("qwen3/model.safetensors", 3000), "qwen3: the language model cannot be read"),
        (lambda: Path("qwen3/model.safetensors").unlink(), "qwen3 holds no weights: expected model.safetensors"),
        (lambda: shards({"a": "model-1.safetensors"}), "there is no file qwen3/model-1.safetensors"),
        (lambda: shards({"a": "../clip/model.safetensors"}), "weight_map must name a file of its folder"),
        (
            lambda: as_pickle(lambda state: state | {"x": Evil()}),
            "it holds more than tensors, and nothing else is ever unpickled",
        ),
        (lambda: as_pickle(lambda state: [1]), "pytorch_model.bin holds no state dict of tensors"),
        (lambda: as_pickle(lambda state: {"lm_head.weight": state["lm_head.weight"]}), "qwen3 lacks the weight"),
        (
            lambda: as_pickle(lambda state: state | {"x": Evil()}, "clip"),
            "clip/pytorch_model.bin cannot be read as weights",
        ),
        (lambda: Path("clip/preprocessor_config.json").unlink(), "encoder: clip has no preprocessor_config.json"),
        (lambda: change("clip/preprocessor_config.json", image_mean=[1, 2]), "clip: its preprocessor cannot be used"),
        (lambda: change("clip/preprocessor_config.json", size="big"), "clip: its image processor cannot be read"),
        (lambda: change("clip/config.json", vision_config=None), "clip: the vision tower cannot be read"),
    ],
)
def test_damaged_parts(here, capsys, damage, sentence):
    damage()
    assert sentence in refused(capsys, *BASE)
    assert not Path("executed").exists()


def test_a_tokenizer_that_has_the_tokens_already(here, capsys):
    save_qwen3(here / "larger", vocab_size=700)
    tokenizer = read_tokenizer(here / "larger")
    tokenizer.add_tokens(["<image>"])
    tokenizer.save_pretrained("larger")
    assert "the tokenizer already has '<image>'" in refused(capsys, "language_model=larger", "encoder=clip")


def test_a_pipeline_that_lacks_a_component(here, capsys):
    shutil.copytree("nano/image_decoder", "own")
    shutil.rmtree("own/vae")
    assert "own/model_index.json names vae, and there is no folder own/vae" in refused(
        capsys, *BASE, "image_decoder=own"
    )
    change("own/model_index.json", _class_name="KandinskyPipeline")
    assert "image_decoder: own holds a KandinskyPipeline: expected a pipeline of" in refused(
        capsys, *BASE, "image_decoder=own"
    )
