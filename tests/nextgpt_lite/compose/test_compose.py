"""``nextgpt-lite compose``: parts on disk, each of a real class at tiny size, become one model folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from data.atomic import hash_folder
from decoders import load_decoder
from encoders import load_encoder
from nextgpt_lite.checkpoint import WEIGHTS, component, read_manifest
from nextgpt_lite.cli import main
from nextgpt_lite.compose.composition import read_composition
from nextgpt_lite.compose.folder import compose
from nextgpt_lite.language_models import load_language_model, read_tokenizer
from tests.tiny_transformers import save_clip, save_qwen3, save_siglip
from tests.tiny_xl import build_tiny_xl

NANO = WEIGHTS / "nano"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """What a reader has: a language model, two encoders and a decoder."""
    folder = tmp_path_factory.mktemp("parts")
    save_qwen3(folder / "qwen3")
    save_clip(folder / "clip")
    save_siglip(folder / "siglip")
    build_tiny_xl().save_pretrained(folder / "sdxl")
    return folder


@pytest.fixture
def here(parts, tmp_path, monkeypatch):
    """A folder to work in, with the parts in it."""
    for part in parts.iterdir():
        (tmp_path / part.name).symlink_to(part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*words: str, copy: bool = False) -> Path:
    out = Path("model")
    compose(read_composition(words), out, copy)
    return out


BASE = ("language_model=qwen3", "encoder=clip")


@pytest.mark.parametrize("copy", [False, True])
def test_links_or_copies(here, parts, copy):
    before = hash_folder(parts)
    model = made(*BASE, "image_decoder=sdxl", copy=copy)
    files = [path for path in model.rglob("*.safetensors") if path.is_file()]
    assert {path.is_symlink() for path in files} == {not copy} and len(files) > 3
    manifest = read_manifest(model)
    assert set(manifest["components"]) == {"tokenizer", "language_model", "encoder", "image_decoder"}
    for name in manifest["components"]:
        component(model, manifest, name)
    expected = AutoModelForCausalLM.from_pretrained("qwen3").state_dict()
    state = load_language_model(model / "language_model").state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert load_encoder(model / "encoder").identity == load_encoder(here / "clip").identity
    assert load_decoder(model / "image_decoder").condition_shape[1] > 0
    assert read_tokenizer(model / "tokenizer").get_vocab() == read_tokenizer(here / "qwen3").get_vocab()
    assert hash_folder(parts) == before


def test_a_composed_folder_may_be_moved_and_is_the_same_by_links_and_copies(here):
    linked = read_manifest(made(*BASE))["components"]
    shutil.move("model", "elsewhere")
    assert component(Path("elsewhere"), read_manifest(Path("elsewhere")), "encoder")
    assert read_manifest(made(*BASE, copy=True))["components"] == linked


def test_folders_alone_are_recognised(here):
    model = made("qwen3", "clip", str(NANO / "audio_decoder"), "sdxl")
    assert {path.name for path in model.iterdir() if path.is_dir()} == {
        "tokenizer", "language_model", "encoder", "audio_decoder", "image_decoder"
    }  # fmt: skip


def test_a_file_names_parts_relative_to_itself_and_words_replace_them(here):
    Path("models").mkdir()
    Path("models/mine.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    Path("models/mine.yaml").write_text(
        "name: mine\n"
        "chat_template: mine.jinja\n"
        "parts:\n"
        "  language_model: ../qwen3\n"
        "  encoder: {path: ../clip, settings: {layer: -2, class_token: false}}\n"
        "  image_decoder: {path: ../sdxl, settings: {steps: 3}}\n"
    )
    model = made("models/mine.yaml")
    assert read_manifest(model)["name"] == "mine"
    assert json.loads((model / "encoder/encoder.json").read_text()) == {"layer": -2, "class_token": False}
    assert load_decoder(model / "image_decoder").default_steps == 3
    assert "m.role" in str(read_tokenizer(model / "tokenizer").chat_template)
    shutil.rmtree(model)
    model = made("models/mine.yaml", "encoder=siglip", "encoder.settings.layer=-3", "chat_template=separator")
    assert load_encoder(model / "encoder").settings.layer == -3
    assert "###" in str(read_tokenizer(model / "tokenizer").chat_template)


def test_settings_do_not_change_the_part(here):
    shutil.copytree("clip", "own")
    Path("own/encoder.json").write_text('{"layer": -3, "class_token": false}')
    model = made("language_model=qwen3", "encoder=own", "encoder.settings.layer=-2")
    assert json.loads((model / "encoder/encoder.json").read_text()) == {"layer": -2, "class_token": False}
    assert json.loads(Path("own/encoder.json").read_text())["layer"] == -3


def test_parts_of_this_project_and_a_tokenizer_of_its_own(here):
    tokenizer = shutil.copytree(NANO / "tokenizer", "tokenizer")
    words = f"language_model={NANO / 'language_model'}", f"encoder={NANO / 'encoder'}", f"tokenizer={tokenizer}"
    model = made(*words)
    assert load_encoder(model / "encoder").identity == load_encoder(NANO / "encoder").identity


def as_pickle(folder: Path, shards: int = 1) -> None:
    """The weights of a folder as PyTorch stores them."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    names = [f"pytorch_model-{n + 1:05}-of-{shards:05}.bin" for n in range(shards)]
    for n, name in enumerate(names):
        torch.save(dict(list(state.items())[n::shards]), folder / name)
    weight_map = {key: names[n % shards] for n, key in enumerate(state)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize("shards", [1, 3])
def test_pytorchs_weights_are_converted(here, shards):
    expected = load_file("qwen3/model.safetensors")
    for name in ("qwen3", "clip"):
        as_pickle(Path(shutil.copytree(name, f"{name}_bin")), shards)
    model = made("language_model=qwen3_bin", "encoder=clip_bin")
    state = load_language_model(model / "language_model").state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert list(model.rglob("*.bin*")) == []
    assert torch.equal(
        next(load_encoder(model / "encoder").parameters()), next(load_encoder(Path("clip")).parameters())
    )


def test_weights_that_share_memory_are_converted(here):
    state = load_file("qwen3/model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    folder = Path(shutil.copytree("qwen3", "tied"))
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    loaded = load_language_model(made("language_model=tied", "encoder=clip") / "language_model")
    assert torch.equal(loaded.get_output_embeddings().weight, state["model.embed_tokens.weight"])


def test_shards_of_safetensors(here):
    AutoModelForCausalLM.from_pretrained("qwen3").save_pretrained("large", max_shard_size="200KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"qwen3/{name}", "large")
    model = made("language_model=large", "encoder=clip")
    assert len(list((model / "language_model").glob("model-*.safetensors"))) > 1
    load_language_model(model / "language_model")


def in_half(path: Path) -> None:
    state = {name: value.half() for name, value in load_file(path).items()}
    save_file(state, path.with_suffix(".fp16.safetensors"), {"format": "pt"})


def in_pickle(path: Path) -> None:
    name = "pytorch_model" if path.stem == "model" else path.stem
    torch.save(load_file(path), path.with_name(f"{name}.bin"))


@pytest.mark.parametrize("written", [in_half, in_pickle])
def test_a_decoder_in_half_precision_or_of_pytorch(here, written):
    for path in Path(shutil.copytree("sdxl", "own")).rglob("*.safetensors"):
        written(path)
        path.unlink()
    decoder = load_decoder(made(*BASE, "image_decoder=own") / "image_decoder")
    expected = load_decoder(Path("sdxl")).network.state_dict()
    for name, value in decoder.network.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-3)


def test_the_command(here, capsys):
    assert main(["compose", BASE[0], "--out", "model", BASE[1]]) == 0
    printed = capsys.readouterr().out
    assert "qwen3" in printed and "model=model" in printed
    assert main(["chat", "hello", "--model", "model"]) == 2
    assert "has no component 'core': train one first" in capsys.readouterr().err
    assert main(["compose", *BASE, "--out", "model"]) == 2
    assert "model holds something already" in capsys.readouterr().err
