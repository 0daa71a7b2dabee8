"""Tokenizers that are a SentencePiece ``tokenizer.model`` and nothing else, as those of Llama, Llama 2 and Vicuna."""

import json
from pathlib import Path

import pytest
import sentencepiece

from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.cli import main
from nextgpt_lite.language_models import read_tokenizer
from tests.nextgpt_lite.released_weights.published import meta_llama, random_llama
from tests.tiny_transformers import save_clip

SENTENCES = ("A chat between a curious user and an assistant.", "USER: what is this? ASSISTANT: a red bell") * 20
TEXTS = ("USER: what is a bell?", "two\nlines\n\n", "two  spaces ", "h\u00e9llo \u4f60\u597d \U0001f642", "12345", "a")
VICUNA = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False, "model_max_length": 2048}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return train_sentencepiece(tmp_path_factory.mktemp("tokenizer"))


def train_sentencepiece(folder: Path) -> Path:
    """Byte-pair encoding with bytes for what it does not know and every digit alone, as Llama's."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(folder / "tokenizer"), vocab_size=330, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        minloglevel=2,
    )  # fmt: skip
    return folder / "tokenizer.model"


def check_tokenizer(folder: Path, model_file: Path) -> None:
    """The ids of SentencePiece itself, after the token that begins a text."""
    tokenizer = read_tokenizer(folder)
    own = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    assert [tokenizer(text)["input_ids"] for text in TEXTS] == [[own.bos_id(), *own.encode(text)] for text in TEXTS]
    assert [tokenizer.decode(own.encode(text)) for text in TEXTS] == [own.decode(own.encode(text)) for text in TEXTS]


def without_tokenizer(folder: Path, model_file: Path) -> Path:
    """A Llama with as many rows as the SentencePiece model has pieces, and no tokenizer."""
    rows = sentencepiece.SentencePieceProcessor(model_file=str(model_file)).vocab_size()
    random_llama(folder, rows)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize("config", [None, VICUNA], ids=["nothing beside it", "as Vicuna has it"])
def test_compose(config, model_file, tmp_path):
    llama = without_tokenizer(tmp_path / "llama", model_file)
    (llama / "tokenizer.model").write_bytes(model_file.read_bytes())
    if config:
        (llama / "tokenizer_config.json").write_text(json.dumps(config))
    words = ["compose", f"language_model={llama}", f"encoder={save_clip(tmp_path / 'clip')}"]
    assert main([*words, "chat_template=vicuna", "--out", str(tmp_path / "model")]) == 0
    check_tokenizer(tmp_path / "model/tokenizer", model_file)


def test_metas_own_folder_chats(model_file, tmp_path):
    given = meta_llama(tmp_path)
    published = given.write(tmp_path / "published")
    rows = sentencepiece.SentencePieceProcessor(model_file=str(model_file)).vocab_size()
    for shard in published.glob("*.pth"):
        grow(shard, rows)
    (published / "tokenizer.model").write_bytes(model_file.read_bytes())
    assert main(["import-weights", "meta_llama", str(published), "--out", str(tmp_path / "model")]) == 0
    check_tokenizer(tmp_path / "model/tokenizer", model_file)
    model = AnyToAny.from_pretrained(tmp_path / "model", "cpu")
    assert isinstance(model.chat([{"role": "user", "content": "what is a bell?"}], max_new_tokens=3).text, str)


def grow(shard: Path, rows: int) -> None:
    """A shard with a vocabulary of so many rows in the whole."""
    import torch

    state = torch.load(shard, weights_only=True)
    for name, count in (("tok_embeddings.weight", rows), ("output.weight", rows // 2)):
        state[name] = torch.randn(count, state[name].shape[1])
    torch.save(state, shard)


@pytest.mark.parametrize("content", [b"IQ== 0\nIg== 1\n", b"", b"words"], ids=["tiktoken", "empty", "words"])
def test_another_kind_of_file_is_refused(content, model_file, tmp_path, capsys):
    llama = without_tokenizer(tmp_path / "llama", model_file)
    (llama / "tokenizer.model").write_bytes(content)
    words = ["compose", f"language_model={llama}", f"encoder={save_clip(tmp_path / 'clip')}"]
    assert main([*words, "--out", str(tmp_path / "model")]) == 2
    assert "tokenizer.model is no model of SentencePiece" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
