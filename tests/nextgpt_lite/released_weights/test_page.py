"""The page on published weights, command by command, with files of the formats at tiny size; each format's chat."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.checkpoint import CheckpointError, write_manifest
from nextgpt_lite.cli import main
from nextgpt_lite.core_checkpoint import load_core
from nextgpt_lite.released_weights.files import WEIGHTS
from tests.nextgpt_lite.released_weights import published
from tests.nextgpt_lite.released_weights.published import Given, adapter_v2, imagebind, random_llama
from tests.nextgpt_lite.released_weights.published_nextgpt import FORMATS
from tests.test_how_to import blocks, run, write_pairs
from tests.tiny_transformers import save_clip

PAGE = "use_published_weights.md"
TRAINING = (
    "nextgpt-lite train train/recipes/papers/llava_lora.yaml model=model task_settings.start=core "
    "task_settings.data=captions.csv learning_rates.bias_tuning=1.0e-2 --out tuned"
)
#: Files of a format that has two.
BIAS = {"BIAS-7B.pth": "v2_bias", "LORA-BIAS-7B.pth": "v2_lora"}


def put(given: Given, sources: list[str], base: str | None, place: Path) -> None:
    """The files of a format under the names that a command has, and its base under the name of the base."""
    is_file = Path(sources[0]).suffix in WEIGHTS
    if not is_file:
        given.write(place / sources[0])
    for name in sources if is_file else ():
        content = given.files[name] if name in given.files else given.files[given.main]
        (place / name).write_bytes(content) if isinstance(content, bytes) else torch.save(content, place / name)
    if base:
        assert given.base is not None
        shutil.rmtree(place / base, ignore_errors=True) if not (place / base).is_symlink() else (place / base).unlink()
        (place / base).symlink_to(given.base)


def given_of(name: str, sources: list[str], folder: Path) -> Given:
    if name == "imagebind_huge":
        return imagebind()
    if name == "llama_adapter_v2_chat":  # without prompts, as released
        return published.adapter_chat(folder, "v2_chat65b_plain")
    return adapter_v2(folder, BIAS[sources[0]]) if sources[0] in BIAS else FORMATS[name](folder)


def prepared(line: str, place: Path) -> list[str]:
    """The words of a command, once what it is given is there."""
    words = shlex.split(line)[1:]
    if words[0] == "import-weights":
        options = next(at for at, word in enumerate(words) if word.startswith("--"))
        name, sources = words[1], words[2:options]
        base = words[words.index("--base") + 1] if "--base" in words else None
        given = given_of(name, sources, place / f"made-{words[words.index('--out') + 1]}")
        put(given, sources, base, place)
        if name == "meta_llama":  # the tokenizer lies above the weights
            assert given.base is not None
            shutil.copytree(given.base, place / Path(sources[0]).parent, dirs_exist_ok=True)
    return words


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page(tmp_path, monkeypatch, tiny_huge, capsys):
    monkeypatch.chdir(tmp_path)
    random_llama(tmp_path / "llama"), save_clip(tmp_path / "clip")
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save("picture.png")
    *lines, training = [line for block in blocks(PAGE, "bash") for line in block.splitlines() if line]
    for line in lines:
        line = line.replace("len10_layer30", "len5_layer3")
        assert main(prepared(line, tmp_path)) == 0, f"{line}: {capsys.readouterr().err}"
    assert {line.split()[2] for line in lines if "import-weights" in line} == {*FORMATS, "imagebind_huge"}
    (tmp_path / "train").symlink_to(Path(__file__).parents[3] / "train")
    write_pairs(tmp_path, "use_your_own_models.md", "captions.csv")
    run(training, tmp_path)
    assert AnyToAny.from_pretrained(tmp_path / "tuned").core.config.lora


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stage_starts_from_tuned_biases_and_media_without_placeholders(makers, tmp_path):
    given = makers("imagebind_llm")
    assert main(given.words("imagebind_llm", given.write(tmp_path / "published"), tmp_path / "model")) == 0
    (tmp_path / "train").symlink_to(Path(__file__).parents[3] / "train")
    write_pairs(tmp_path, "use_your_own_models.md", "captions.csv")
    before = load_file(tmp_path / "model/core/model.safetensors")
    run(TRAINING, tmp_path)
    after = load_file(tmp_path / "tuned/core/model.safetensors")
    assert before.keys() == after.keys()
    # In half precision, in which a stage exports what it leaves alone as well.
    changed = {name for name, value in before.items() if not torch.equal(value.half(), after[name].half())}
    assert changed == {name for name in before if "language_model." in name}  # LoRA's matrices, biases and norms, all


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_imported_chats(name, makers, tmp_path, monkeypatch):
    """With a picture where it reads pictures; the reply is what the core says, whatever that is."""
    given = makers(name)
    assert main(given.words(name, given.write(tmp_path / "published"), tmp_path / "model")) == 0
    model = AnyToAny.from_pretrained(tmp_path / "model", "cpu")
    picture: dict[str, Any] = {"type": "image", "array": np.full((40, 50, 3), 90, np.uint8)}
    parts = [{"type": "text", "text": "What is this?"}, *([picture] if "image" in model.table.shown else [])]
    assert isinstance(model.chat([{"role": "user", "content": parts}], max_new_tokens=4).text, str)
    assert not list((tmp_path / "model").rglob("*.bin"))


def test_another_language_model_is_refused_by_chat_and_by_stages(makers, tmp_path):
    given = makers("llama_adapter_v1")
    model, llama = tmp_path / "model", tmp_path / "model/language_model"
    assert main(given.words("llama_adapter_v1", given.write(tmp_path / "published"), model)) == 0
    shutil.rmtree(llama)
    random_llama(llama, num_hidden_layers=4, intermediate_size=192)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (llama / name).unlink()
    with pytest.raises(CheckpointError, match=r"'language_model' in .* is not the one in the manifest"):
        AnyToAny.from_pretrained(model)
    write_manifest(model, "changed")
    with pytest.raises(CheckpointError, match=r"trained on another language model than the one in .*: model\.layers\."):
        AnyToAny.from_pretrained(model)
    with pytest.raises(CheckpointError, match="trained on another language model"):
        load_core(model / "core", llama)


def test_templates_write_the_prompts_of_the_papers(makers):
    from nextgpt_lite.compose.templates import template_text
    from nextgpt_lite.conversation import encode
    from nextgpt_lite.released_weights.prompts import vicuna
    from nextgpt_lite.signal_tokens import add_to_tokenizer

    tokenizer = published.letters(140)
    table = add_to_tokenizer(tokenizer, {"image": 2})
    tokenizer.chat_template = template_text("vicuna")
    talk = [("human", "<image>\nwhat?"), ("gpt", "a dog"), ("human", "and?"), ("gpt", "rain")]
    ids, labels = vicuna(talk, tokenizer, table)
    image = {"type": "image", "array": np.zeros((2, 2, 3), np.uint8)}
    messages = [
        {"role": "user", "content": [image, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": "a dog"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "rain"},
    ]
    own, mask, _ = encode(messages, tokenizer, table, reply=False)
    assert own == ids
    assert [bool(each) for each in mask] == [label != -100 for label in labels]
    prompt, _, _ = encode(messages[:3], tokenizer, table)
    assert own[: len(prompt)] == prompt
    tokenizer.chat_template = template_text("alpaca")
    text = "".join(tokenizer.convert_ids_to_tokens(encode(messages[2:3], tokenizer, table)[0]))
    assert text.startswith("<s>Below is an instruction") and text.endswith("### Instruction:\nand?\n\n### Response:")
