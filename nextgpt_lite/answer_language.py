"""The language that a reply is preferred in: its first token belongs to that language, where the model allows it.

A language model goes on in the language that it has begun, so only the first token is restricted. A model that hardly
ever answers in that language would begin an answer to another question, and generate the wrong medium; so it is left
unrestricted.
"""

import re

import torch
from transformers import PreTrainedTokenizerBase

from nextgpt_lite.signal_tokens import SignalTable

#: What the first token of a reply in each language must contain.
LETTERS = {"en": re.compile("[A-Za-z]"), "zh": re.compile("[\u4e00-\u9fff]")}
LANGUAGES = tuple(LETTERS)
#: The least probability of all first tokens in a language together for which that language is preferred.
MIN_PROBABILITY = 1 / 3


def disallowed_first_tokens(tokenizer: PreTrainedTokenizerBase, table: SignalTable, language: str) -> torch.Tensor:
    """True (V,) for tokens that a reply in ``language`` ("en" or "zh") does not begin with; signal tokens are allowed.

    ValueError for another language.
    """
    if language not in LETTERS:
        raise ValueError(f"answers in {language!r} are not known: expected {' or '.join(LETTERS)}")
    disallowed = torch.zeros(table.first + len(table.names), dtype=torch.bool)
    for token in range(table.first):
        text = str(tokenizer.decode([token], skip_special_tokens=True))
        disallowed[token] = LETTERS[language].search(text) is None
    return disallowed


def prefer_language(logits: torch.Tensor, disallowed: torch.Tensor) -> torch.Tensor:
    """A reply's first ``logits`` (V,) without the ``disallowed`` tokens (V,).

    Unchanged where the model gives the allowed ones less than :data:`MIN_PROBABILITY` together.
    """
    likely = torch.softmax(logits.float(), dim=-1)[~disallowed].sum() >= MIN_PROBABILITY
    return logits.masked_fill(disallowed, torch.finfo(logits.dtype).min) if likely else logits
