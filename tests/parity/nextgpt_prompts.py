"""NExT-GPT's prompts and label masks, newest and first release, on the case's own character tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

from nextgpt_lite.released_weights.prompts import legacy, vicuna
from nextgpt_lite.signal_tokens import SignalTable, add_to_tokenizer
from tests.parity.cases import Case, Comparison

SEPARATOR = "\u2581"
SIGNAL = re.compile(r"<(image|video|audio)_\d+>")
MEDIA_IDS = {-200: "image", -300: "video", -400: "audio"}
#: What is asked and answered in the stages of the first release; a signal span ends the answer of the last two.
LEGACY_TURNS = {
    "stage1": ("generate a caption", "a dog"),
    "stage2": ("a dog", "a dog"),
    "stage3": ("draw a dog", "ok"),
}
#: Tokens that the first release adds before its signals.
LEGACY_EXTRA = ("<Img>", "</Img>")


def counts_of(vocab: dict[str, int]) -> dict[str, int]:
    """Signal tokens of each modality in a vocabulary."""
    return {
        modality: sum(token.startswith(f"<{modality}_") for token in vocab) for modality in ("image", "video", "audio")
    }


def tokenizer_of(vocab: dict[str, int], extra: tuple[str, ...] = ()) -> tuple[PreTrainedTokenizerFast, SignalTable]:
    """The case's character tokenizer without its signal tokens, then with ours."""
    base = {token: row for token, row in vocab.items() if not SIGNAL.fullmatch(token)}
    first = min(row for token, row in vocab.items() if token not in base)
    base = {token: row for token, row in base.items() if row < first}
    base |= {token: first + i for i, token in enumerate(extra)}
    tokenizer = Tokenizer(BPE(vocab=base, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = Metaspace(replacement=SEPARATOR, prepend_scheme="first", split=False)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", *extra])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    return fast, add_to_tokenizer(fast, counts_of(vocab))


def in_our_ids(reference: list[int], table: SignalTable, vocab: dict[str, int]) -> list[int]:
    """Ids or labels of the reference in ours.

    Media ids become placeholders, spaces between signals are left out, and so is the start token that the reference
    repeats after a video or a sound.
    """
    bos, separator, row = vocab["<s>"], vocab[SEPARATOR], []
    shift = table.first_signal - table.first

    def is_signal(at: int) -> bool:
        return 0 <= at < len(reference) and reference[at] >= table.first

    for at, i in enumerate(reference):
        if i in MEDIA_IDS:
            row.append(table.placeholders[MEDIA_IDS[i]])
        elif not (i == separator and is_signal(at - 1) and is_signal(at + 1)):
            row.append(i + shift if is_signal(at) else i)
    return [i for at, i in enumerate(row) if not (at and i == bos)]


def prompts(case: Case) -> Iterator[Comparison]:
    vocab, outputs = case.record["vocab"], case.group("outputs/")
    tokenizer, table = tokenizer_of(vocab)
    for name, conversation in case.record["conversations"].items():
        ids, labels = vicuna([tuple(turn) for turn in conversation], tokenizer, table)
        reference = outputs[f"{name}.ids"].tolist()
        kept = kept_places(reference, table, vocab)
        yield equal(f"{name}.ids", ids, in_our_ids(reference, table, vocab))
        theirs = [outputs[f"{name}.labels"].tolist()[at] for at in kept]
        yield equal(f"{name}.labels", labels, in_our_ids(theirs, table, vocab))
    yield from legacy_prompts(vocab, outputs)


def kept_places(reference: list[int], table: SignalTable, vocab: dict[str, int]) -> list[int]:
    """Places of the reference's ids that have one in ours."""
    bos, separator = vocab["<s>"], vocab[SEPARATOR]
    signals = {at for at, i in enumerate(reference) if i >= table.first}
    return [
        at
        for at, i in enumerate(reference)
        if not (at and i == bos) and not (i == separator and {at - 1, at + 1} <= signals)
    ]


def legacy_prompts(vocab: dict[str, int], outputs: dict[str, torch.Tensor]) -> Iterator[Comparison]:
    """The first release's three stages; its ids begin after ``### Human:`` and the medium."""
    tokenizer, table = tokenizer_of(vocab, LEGACY_EXTRA)
    for stage, (asked, answered) in LEGACY_TURNS.items():
        key = f"legacy.process_batch_stage_{stage[-1]}"
        if f"{key}.ids" not in outputs:
            continue
        given, made = ("image", "") if stage == "stage1" else (None, "<image>")
        ids, labels = legacy([("human", asked), ("gpt", answered + made)], tokenizer, table, given)
        reference = outputs[f"{key}.ids"][0].tolist()
        kept = kept_places(reference, table, vocab)
        yield equal(f"{key}.ids", ids[-len(kept) :], in_our_ids(reference, table, vocab))
        theirs = [outputs[f"{key}.labels"][0].tolist()[at] for at in kept]
        yield equal(f"{key}.labels", labels[-len(kept) :], in_our_ids(theirs, table, vocab))


def equal(name: str, ours: list[int] | list[list[int]], reference: list[int] | list[list[int]]) -> Comparison:
    return Comparison(name, torch.tensor(ours), torch.tensor(reference), 0)
