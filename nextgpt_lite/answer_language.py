"""The language that an answer is preferred in: its first token is one of that language, where the model allows it.

A language model goes on in the language that it has begun, so nothing else need be forbidden. But one that never
answers in that language here would begin an answer to another question, and make the wrong medium: it is let be.
"""

from __future__ import annotations

import re

import torch
from transformers import PreTrainedTokenizerBase

from nextgpt_lite.signal_tokens import SignalTable

#: What the first token of an answer holds.
LETTERS = {"en": re.compile("[A-Za-z]"), "zh": re.compile("[\u4e00-\u9fff]")}
LANGUAGES = tuple(LETTERS)
#: The least probability that a model must give to all openings in a language, for its answer to begin with one.
LEAST_PROBABILITY = 1 / 3


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


def prefer(logits: torch.Tensor, silent: torch.Tensor) -> torch.Tensor:
    """An answer's first ``logits`` (V,), without the tokens that are ``silent`` (V,); as they are where the model gives
    the others less than :data:`LEAST_PROBABILITY` in all."""
    likely = torch.softmax(logits.float(), dim=-1)[~silent].sum() >= LEAST_PROBABILITY
    return logits.masked_fill(silent, torch.finfo(logits.dtype).min) if likely else logits
