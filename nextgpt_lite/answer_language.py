"""The language of an answer, whatever the language of the question: its first token is one of that language.

A language model goes on in the language that it has begun, so nothing else need be forbidden.
"""

from __future__ import annotations

import re

import torch
from transformers import PreTrainedTokenizerBase

from nextgpt_lite.signal_tokens import SignalTable

#: What the first token of an answer holds.
LETTERS = {"en": re.compile("[A-Za-z]"), "zh": re.compile("[\u4e00-\u9fff]")}
LANGUAGES = tuple(LETTERS)


def silent_openings(tokenizer: PreTrainedTokenizerBase, table: SignalTable, language: str) -> torch.Tensor:
    """True (V,) for tokens that an answer in ``language`` does not begin with; signal tokens it may begin with.

    ValueError for a language without a rule.
    """
    if language not in LETTERS:
        raise ValueError(f"answers in {language!r} are not known: expected {' or '.join(LANGUAGES)}")
    silent = torch.zeros(table.first + len(table.names), dtype=torch.bool)
    for token in range(table.first):
        text = str(tokenizer.decode([token], skip_special_tokens=True))
        silent[token] = LETTERS[language].search(text) is None
    return silent
