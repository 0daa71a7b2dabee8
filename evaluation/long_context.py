"""The suite ``long_context``: perplexity and passkeys by length, before and after context extension.

    nextgpt-lite evaluate long_context --model DIR --data TEXTS --lengths 512,1024,2048,4096,8192 --count 20

DIR holds ``tokenizer/``, ``language_model/`` and ``texts.json``, as the recipe text_language_model leaves them, and
``context_adapter/`` once it is extended. Attention is dense throughout, numbers are float32.

Perplexity: ``count`` places in the held-out texts; at each the same last 256 tokens are scored at every length L, after
the L - 256 tokens before them, so a scored token has L - 256 to L - 1 tokens of context, all of its own text. (256 is
the stride of LongLoRA's sliding windows; since the scored tokens are the same, figures of different lengths compare.)
Sliding perplexity, as LongLoRA's tables have it (2309.12307, Sec. 4.1): the mean loss of all tokens of windows of L
tokens that start every 256 tokens, over the first ``count`` windows of the held-out texts; a window's first tokens have
next to no context, so that it falls with the length.
Passkeys: ``count`` documents of exactly L tokens, the keys at depths spread evenly and never seen in training.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from data.atomic import hash_folder
from data.passkey import PasskeyDocument, PasskeyWriter, draw_key
from data.texts import SPLIT, Text, hashes, read_texts
from evaluation import Settings
from evaluation.report import write_report
from evaluation.statistics import Tally, Verdict
from nextgpt_lite.language_models import load_language_model, read_tokenizer
from nextgpt_lite.long_context.merge import merged_model
from nextgpt_lite.long_context.streaming import final_losses, tells_passkey

SCORED = 256  # tokens at the end of a window, and from one sliding window to the next
DEPTHS = 5  # rows of the grid of passkeys
PASSKEY_LENGTHS, LEAST_PASSKEY = ("4096", "8192"), 0.9
COLOURS = ("#b3261e", "#1a5fb4", "#176f2c", "#7a4fb0")  # of a chart's lines
SIZES = {"width": 560, "height": 300, "left": 60, "right": 450, "top": 34, "bottom": 260}  # of a chart, in pixels
TITLES = {
    "perplexity": "perplexity (lower is better)",
    "sliding_perplexity": "sliding perplexity, stride 256",
    "passkey": "passkey accuracy",
}


def run(settings: Settings) -> str:
    """Measure the model on the texts, write the suite's files; the table to print.

    ValueError before anything is written: for a folder that is no such model, for lengths that are too short to score,
    and where no held-out text is as long as the longest length.
    """
    if settings.data is None:
        raise ValueError("long_context reads texts that the model was not trained on: give --data FOLDER")
    folder, count, seed = Path(settings.model), settings.count, settings.seed
    check_folder(folder)
    lengths = sorted(set(settings.lengths))
    tokenizer = read_tokenizer(folder / "tokenizer")
    writer = PasskeyWriter(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    check_lengths(lengths, writer.shortest)
    texts = held_out_texts(folder, settings.data)
    rows = [tokenizer(text.content)["input_ids"] for text in texts]
    windows = windows_of(rows, lengths[-1], count, seed)
    documents = {length: documents_of(writer, length, count, seed) for length in lengths}
    metrics = {name: measure(name, model, windows, documents, rows) for name, model in models_of(folder)}
    results = {
        "suite": "long_context",
        "model": {"hash": model_hash(folder)},
        "data": {"hash": hashlib.sha256("".join(text.sha256 for text in texts).encode()).hexdigest()},
        "texts": [text.name for text in texts],
        "seed": seed,
        "count": count,
        "metrics": metrics,
    }
    values = {"verdicts": verdicts(metrics), "charts": charts(metrics), "titles": TITLES}
    return write_report(settings.out, "long_context", results, **values)


def check_folder(folder: Path) -> None:
    """ValueError where ``folder`` lacks what a measured model needs."""
    for name in ("tokenizer", "language_model", SPLIT):
        if not (folder / name).exists():
            raise ValueError(f"{folder} lacks {name}: expected a folder that the recipe text_language_model wrote")


def check_lengths(lengths: Sequence[int], shortest_document: int) -> None:
    """ValueError for a length with no context before its scored tokens or no room for a passkey document."""
    least = max(SCORED + 1, shortest_document)
    for length in lengths:
        if length < least:
            raise ValueError(f"length {length} is too short: expected at least {least} tokens")


def held_out_texts(folder: Path, data: Path) -> list[Text]:
    """The texts in ``data`` that the model was not trained on, by their hashes."""
    trained_on = hashes(folder, "trained_on")
    texts = [text for text in read_texts(data) if text.sha256 not in trained_on]
    if not texts:
        raise ValueError(f"the model was trained on every text in {data}: nothing is left to score")
    return texts


def windows_of(rows: Sequence[Sequence[int]], length: int, count: int, seed: int) -> list[torch.Tensor]:
    """``count`` windows (length,) of rows of ids, each inside one row, their starts spread over all possible places.

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
    yield "before", load_language_model(base).eval()
    if adapter.is_dir():
        yield "after", merged_model(base, adapter).eval()


def measure(
    name: str,
    model: PreTrainedModel,
    windows: list[torch.Tensor],
    documents: dict[int, list[PasskeyDocument]],
    texts: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Perplexities and passkey accuracy by length (a string, as JSON keys are), by depth too, and depths of missed
    keys."""
    count = len(windows)
    metrics: dict[str, Any] = {
        name: {} for name in ("perplexity", "sliding_perplexity", "passkey", "passkey_grid", "missed_depths")
    }
    for length, row in documents.items():
        losses, right = [], []
        for item in tqdm((*windows, *row), desc=f"{name} extension, {length} tokens"):
            if isinstance(item, PasskeyDocument):
                right.append(tells_passkey(model, item))
            else:
                losses.append(final_losses(model, item[-length:], SCORED))
        metrics["perplexity"][str(length)] = float(torch.cat(losses).mean().exp())
        metrics["passkey"][str(length)] = sum(right) / len(right)
        metrics["sliding_perplexity"][str(length)] = sliding_perplexity(model, texts, length, count)
        metrics["passkey_grid"][str(length)] = by_depth(right)
        metrics["missed_depths"][str(length)] = [(i + 0.5) / len(right) for i, hit in enumerate(right) if not hit]
    return metrics


def sliding_perplexity(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], length: int, count: int, stride: int = SCORED
) -> float:
    """exp of the mean loss of all tokens of the first ``count`` windows of ``length``, one every ``stride`` tokens of
    each text (2309.12307, Sec. 4.1)."""
    windows = (ids[start : start + length] for ids in texts for start in range(0, len(ids) - length + 1, stride))
    losses = [final_losses(model, torch.tensor(ids), length - 1).mean() for ids in islice(windows, count)]
    return float(torch.stack(losses).mean().exp())


def by_depth(right: Sequence[bool], rows: int = DEPTHS) -> dict[str, float]:
    """Share of keys found by depth, of documents whose keys lie evenly spread from the start to the end."""
    bins: dict[str, Tally] = {}
    for number, hit in enumerate(right):
        depth = min(rows - 1, int((number + 0.5) / len(right) * rows))
        bins.setdefault(f"{depth / rows:.1f} to {(depth + 1) / rows:.1f}", Tally()).add(hit)
    return {depth: tally.share or 0.0 for depth, tally in bins.items()}


def model_hash(folder: Path) -> str:
    """Hash of all that was measured: tokenizer, base and, where there is one, adapter."""
    parts = [folder / name for name in ("tokenizer", "language_model", "context_adapter")]
    return hashlib.sha256("".join(hash_folder(part) for part in parts if part.is_dir()).encode()).hexdigest()


def verdicts(metrics: dict[str, Any]) -> list[Verdict]:
    """Those of the extended model; nothing where there is none or but one length.

    Its perplexity at the longest length must be no worse than at the shortest, its own there and the base's.
    """
    if "after" not in metrics or len(metrics["after"]["perplexity"]) < 2:
        return []
    after = metrics["after"]
    shortest, *_, longest = after["perplexity"]
    value = after["perplexity"][longest]
    rows = []
    for name in ("before", "after"):
        most = metrics[name]["perplexity"][shortest]
        what = f"perplexity at {longest} tokens; at {shortest} {name} extension"
        rows.append(Verdict(what, value, most, value <= most))
    for length in PASSKEY_LENGTHS:
        if length in after["passkey"]:
            share = after["passkey"][length]
            rows.append(Verdict(f"passkey accuracy at {length} tokens", share, LEAST_PASSKEY, share >= LEAST_PASSKEY))
    return rows


def charts(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A chart of each metric: a line for each model, lengths across."""

    def lines(name: str) -> dict[str, list[tuple[int, float]]]:
        return {when: [(int(length), v) for length, v in m[name].items()] for when, m in metrics.items()}

    return [line_chart(title, lines(name), logarithmic="perplexity" in name) for name, title in TITLES.items()]


def line_chart(title: str, lines: dict[str, list[tuple[int, float]]], logarithmic: bool = False) -> dict[str, Any]:
    """Lines of (length, value) points: lengths on a scale of doublings, values from 0 to 1 or ``logarithmic``.

    The places of everything in the drawing, which templates/line_chart.svg turns into SVG: "rows" (y, label),
    "columns" (x, label), "lines" (name, colour, [(x, y), ...]).
    """
    lengths = sorted({length for points in lines.values() for length, _ in points})
    values = [value for points in lines.values() for _, value in points]
    low, high = (math.log10(min(values)), math.log10(max(values))) if logarithmic else (0.0, 1.0)
    x_of = _scale(math.log2(lengths[0]), math.log2(lengths[-1]), SIZES["left"], SIZES["right"])
    y_of = _scale(low, high, SIZES["bottom"], SIZES["top"])
    marks = [low + (high - low) * step / 4 for step in range(5)]

    def place(length: int, value: float) -> tuple[float, float]:
        return x_of(math.log2(length)), y_of(math.log10(value) if logarithmic else value)

    return SIZES | {
        "title": title,
        "rows": [(y_of(mark), f"{10**mark if logarithmic else mark:.4g}") for mark in marks],
        "columns": [(x_of(math.log2(length)), str(length)) for length in lengths],
        "lines": [
            (name, colour, [place(*point) for point in sorted(points)])
            for colour, (name, points) in zip(COLOURS, lines.items(), strict=False)
        ],
    }


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Values from low to high -> places from start to end, to a tenth; all in the middle where low is high."""

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(start + share * (end - start), 1)

    return place
