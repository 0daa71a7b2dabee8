"""Tokenizers of a text tower, trained here or CLIP's: byte-level BPE whose end token has the largest id.

ImageBind's text head expects that.
"""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PADDING, START, END = "<pad>", "<start>", "<end>"
CLIP_VOCABULARY = 49408
#: open_clip's names of the two special tokens -> those of CLIP, which are matched inside a text as well.
SPECIAL_NAMES = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


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
    padding, start, end = (tokenizer.token_to_id(name) for name in (PADDING, START, END))
    if padding is None or start is None or end is None:
        raise ValueError(f"the text tower's tokenizer lacks one of {PADDING}, {START}, {END}")
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    rows = [[start, *row.ids[: length - 2], end] for row in encoded]
    ids = torch.full((len(rows), max(map(len, rows), default=2)), padding)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return ids


class ClipTokenizer:
    """CLIP's 49,408 tokens, of ImageBind's released text tower; the merges come with open_clip.

    As in the released code, a text that spells ``<|endoftext|>`` gets that token, and the text head reads only what
    stands before it.
    """

    def __init__(self) -> None:
        import regex
        from open_clip.tokenizer import SimpleTokenizer  # here: open_clip takes seconds to import

        self._tokenizer = SimpleTokenizer()
        pattern = self._tokenizer.pat.pattern
        for name, published in SPECIAL_NAMES.items():
            number = self._tokenizer.encoder.pop(name)
            self._tokenizer.encoder[published] = number
            self._tokenizer.decoder[number] = published
            pattern = pattern.replace(name, regex.escape(published))
        self._tokenizer.cache = {published: published for published in SPECIAL_NAMES.values()}
        self._tokenizer.pat = regex.compile(pattern, regex.IGNORECASE)

    def __call__(self, texts: list[str], length: int = 77) -> torch.Tensor:
        """Ids (B, length): start, text, end, zeros; a text that is too long loses its tail, not its end."""
        return self._tokenizer(list(texts), context_length=length)
