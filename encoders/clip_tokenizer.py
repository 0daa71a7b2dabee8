"""The tokenizer of CLIP, which ImageBind's released text tower uses; its merges come with open_clip."""

from __future__ import annotations

import torch

VOCABULARY = 49408
#: open_clip's names of the two special tokens -> those of CLIP, which are matched inside a text as well.
SPECIAL_NAMES = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


class ClipTokenizer:
    """Byte-level BPE with 49,408 tokens; the end token has the largest id, as ImageBind's text head expects.

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
