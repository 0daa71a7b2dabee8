"""The text tower's tokenizer: byte-level BPE whose end token has the largest id, as ImageBind's text head expects."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PADDING, START, END = "<pad>", "<start>", "<end>"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A lower-casing byte-level BPE of at most ``vocabulary`` tokens; any text can be encoded with it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        special_tokens=[PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([START, END])  # last, so that the end has the largest id
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: list[str], length: int) -> torch.Tensor:
    """Ids (B, longest), at most ``length`` wide: start, text, end, padding; a long text loses its tail, not its end."""
    padding, start, end = (_special_id(tokenizer, name) for name in (PADDING, START, END))
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    rows = [[start, *row.ids[: length - 2], end] for row in encoded]
    ids = torch.full((len(rows), max(map(len, rows), default=2)), padding)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return ids


def _special_id(tokenizer: Tokenizer, name: str) -> int:
    number = tokenizer.token_to_id(name)
    if number is None:
        raise ValueError(f"the text tower's tokenizer lacks {name!r}")
    return number
