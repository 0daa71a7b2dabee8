"""The suite ``long_context``: perplexity and passkeys by length, before and after context extension.

    nextgpt-lite evaluate long_context --model DIR --data TEXTS --lengths 512,1024,2048,4096,8192 --count 20

DIR holds ``tokenizer/``, ``language_model/`` and ``texts.json``, as the recipe text_language_model leaves them, and
``context_adapter/`` once it is extended. Attention is dense throughout, numbers are float32.

Perplexity: ``count`` places in the held-out texts; at each the same last 256 tokens are scored at every length L, after
the L - 256 tokens before them, so a scored token has L - 256 to L - 1 tokens of context, all of its own text. (256 is
the stride of LongLoRA's sliding windows; since the scored tokens are the same, figures of different lengths compare.)
Passkeys: ``count`` documents of exactly L tokens, the keys at depths spread evenly and never seen in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from data.passkey import PasskeyDocument, PasskeyWriter, draw_key
from data.texts import SPLIT, Text, hashes, read_texts
from evaluation.long_context_report import report_html
from evaluation.report import write_aside, write_results
from nextgpt_lite.checkpoint import component_hash
from nextgpt_lite.long_context.merge import merged_model
from nextgpt_lite.long_context.reading import final_losses, tells_passkey

LENGTHS = (512, 1024, 2048, 4096, 8192)
COUNT = 20
SCORED = 256  # tokens at the end of a window

Progress = Callable[[str, int, int], None]


def evaluate(
    folder: Path, data: Path, lengths: Sequence[int], count: int, seed: int, out: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure the model in ``folder`` on ``data``, write results.json and report.html into ``out``; the results.

    ValueError before anything is written: for a folder that is no such model, for lengths that are too short to score,
    and where no held-out text is as long as the longest length.
    """
    check_folder(folder)
    lengths = sorted(set(lengths))
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    writer = PasskeyWriter(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    check_lengths(lengths, writer.shortest)
    texts = held_out_texts(folder, data)
    windows = windows_of([tokenizer(text.content)["input_ids"] for text in texts], lengths[-1], count, seed)
    documents = {length: documents_of(writer, length, count, seed) for length in lengths}
    metrics = {name: measure(name, model, windows, documents, progress) for name, model in models_of(folder)}
    results = {
        "suite": "long_context",
        "model": {"hash": model_hash(folder)},
        "data": {"hash": hashlib.sha256("".join(text.sha256 for text in texts).encode()).hexdigest()},
        "texts": [text.name for text in texts],
        "seed": seed,
        "count": count,
        "metrics": metrics,
    }
    write_results(results, out)
    write_aside(out / "report.html", report_html(results))
    return results


def check_folder(folder: Path) -> None:
    """ValueError where ``folder`` lacks what a measured model needs."""
    for name in ("tokenizer", "language_model", SPLIT):
        if not (folder / name).exists():
            raise ValueError(f"{folder} lacks {name}: expected a folder that the recipe text_language_model has made")


def check_lengths(lengths: Sequence[int], shortest_document: int) -> None:
    """ValueError for a length with no context before its scored tokens or no room for a passkey document."""
    least = max(SCORED + 1, shortest_document)
    for length in lengths:
        if length < least:
            raise ValueError(f"length {length} is too short: expected at least {least} tokens")


def held_out_texts(folder: Path, data: Path) -> list[Text]:
    """The texts in ``data`` that the model was not trained on, told by their hashes."""
    trained_on = hashes(folder, "trained_on")
    texts = [text for text in read_texts(data) if text.sha256 not in trained_on]
    if not texts:
        raise ValueError(f"the model was trained on every text in {data}: nothing is left to score")
    return texts


def windows_of(rows: Sequence[Sequence[int]], length: int, count: int, seed: int) -> list[torch.Tensor]:
    """``count`` windows (length,) of rows of ids, each inside one row, their ends spread over all places there are.

    A window is drawn in each of ``count`` equal stretches of places.
    """
    places = [max(0, len(row) - length + 1) for row in rows]  # where a window may start, row after row
    if not sum(places):
        raise ValueError(f"the longest held-out text has {max(map(len, rows))} tokens: expected {length} at least")
    rng, borders = np.random.default_rng(seed), np.cumsum([0, *places])
    windows = []
    for part in range(count):
        place = int((part + rng.random()) * sum(places) / count)
        row = int(np.searchsorted(borders, place, side="right")) - 1
        start = place - int(borders[row])
        windows.append(torch.tensor(rows[row][start : start + length]))
    return windows


def documents_of(writer: PasskeyWriter, length: int, count: int, seed: int) -> list[PasskeyDocument]:
    """``count`` documents of ``length`` tokens, their keys at depths spread evenly."""
    rng = np.random.default_rng((seed, length))
    return [writer.document(length, draw_key(rng, held_out=True), (i + 0.5) / count) for i in range(count)]


def models_of(folder: Path) -> Iterator[tuple[str, PreTrainedModel]]:
    """The model before and, where there is an adapter, after extension; one at a time in memory."""
    base, adapter = folder / "language_model", folder / "context_adapter"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    yield "before", model.eval()
    if adapter.is_dir():
        yield "after", merged_model(base, adapter).eval()


def measure(
    name: str,
    model: PreTrainedModel,
    windows: list[torch.Tensor],
    documents: dict[int, list[PasskeyDocument]],
    progress: Progress | None,
) -> dict[str, Any]:
    """Perplexity and share of passkeys told by length (as text, as JSON keys are), and the depths of keys not told."""
    metrics: dict[str, Any] = {"perplexity": {}, "passkey": {}, "missed_depths": {}}
    done, total = 0, sum(len(windows) + len(row) for row in documents.values())
    for length, row in documents.items():
        losses, told = [], []
        for item in (*windows, *row):
            if isinstance(item, PasskeyDocument):
                told.append(tells_passkey(model, item))
            else:
                losses.append(final_losses(model, item[-length:], SCORED))
            done += 1
            if progress:
                progress(name, done, total)
        metrics["perplexity"][str(length)] = float(torch.cat(losses).mean().exp())
        metrics["passkey"][str(length)] = sum(told) / len(told)
        metrics["missed_depths"][str(length)] = [(i + 0.5) / len(told) for i, right in enumerate(told) if not right]
    return metrics


def model_hash(folder: Path) -> str:
    """Hash of all that was measured: tokenizer, base and, where there is one, adapter."""
    parts = [folder / name for name in ("tokenizer", "language_model", "context_adapter")]
    return hashlib.sha256("".join(component_hash(part) for part in parts if part.is_dir()).encode()).hexdigest()
