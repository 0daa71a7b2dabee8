"""What is measured of a run's model besides the figures that its training ends with.

A measure takes the run's folder, its seed and its settings and gives figures by name. Losses are in nats.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from adapters.visual_cache import VisualCache
from data import toybox
from data.modalities import MODALITIES
from data.strict import read_settings, setting
from evaluation.long_context import held_out_texts, windows_of
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import WEIGHTS
from nextgpt_lite.conversation import encode
from nextgpt_lite.language_models import load_language_model, read_tokenizer
from nextgpt_lite.long_context.merge import merged_model
from nextgpt_lite.long_context.streaming import final_losses
from nextgpt_lite.media_slots import batch_media

#: What is measured is drawn from seeds that no training has.
MEASURED = 10_000
BATCH = 20
#: Embeddings of Toybox's media, by encoder, features and medium: runs of one process are measured on the same ones.
_EMBEDDINGS: dict[tuple[str, str, int, toybox.MediaPart], torch.Tensor] = {}


@dataclass(frozen=True, kw_only=True)
class LongContext:
    """Loss of the last ``scored`` tokens of rows of held-out text, attention dense."""

    texts: str = setting("", help="a folder of texts; {texts}: Python's own reference")
    length: int = setting(low=2, help="tokens of a row")
    scored: int = setting(128, low=1, help="tokens at its end")
    count: int = setting(24, low=1, help="rows")


def long_context(folder: Path, seed: int, values: dict[str, Any]) -> dict[str, float]:
    """``loss_long`` of rows of the whole length, and ``loss_short`` of the same tokens after half as many as scored."""
    chosen, model = read_settings(LongContext, values, "measure long_context"), folder / "model"
    tokenizer, adapter = read_tokenizer(model / "tokenizer"), model / "context_adapter"
    texts = held_out_texts(model, Path(chosen.texts))
    rows = [tokenizer(text.content)["input_ids"] for text in texts]
    windows = windows_of(rows, chosen.length, chosen.count, seed + MEASURED)
    base = model / "language_model"
    language_model = merged_model(base, adapter) if adapter.is_dir() else load_language_model(base)
    language_model.eval()
    figures = {}
    for name, length in (("long", chosen.length), ("short", chosen.scored * 3 // 2)):
        losses = [final_losses(language_model, window[-length:], chosen.scored) for window in windows]
        figures[f"loss_{name}"] = float(torch.cat(losses).mean())
    return figures


@dataclass(frozen=True, kw_only=True)
class Replies:
    """Replies of Toybox's dialogues, teacher-forced."""

    kinds: dict[str, list[str]] = setting(help="kind of dialogue -> modalities that the user shows; [] = words alone")
    count: int = setting(60, low=1, help="dialogues of each")
    shuffled: bool = setting(False, help="also with media of other dialogues, which say nothing of these")
    blends: list[float] = setting([], low=0, high=1, help="also by way of nano's visual cache, with these blends")


def replies(folder: Path, seed: int, values: dict[str, Any]) -> dict[str, float]:
    """``loss`` of a reply's token and share of replies ``right`` token by token, for each kind and modality."""
    chosen = read_settings(Replies, values, "measure replies")
    model = AnyToAny.from_pretrained(folder / "training")
    figures: dict[str, float] = {}
    for kind, sources in chosen.kinds.items():
        for source in sources or ("text",):
            dialogues = [
                toybox.dialogue(seed + MEASURED, index, kind=kind, source=source if sources else None)
                for index in range(chosen.count)
            ]
            rows = [Row.of(model, dialogue) for dialogue in dialogues]
            for variant, own in _variants(chosen, model, rows):
                figures |= score(model, own, f"{kind}_{source}{variant}")
    return figures


def _variants(chosen: Replies, model: AnyToAny, rows: "list[Row]") -> "Iterator[tuple[str, list[Row]]]":
    """The rows as they are, and with the other media that are measured, under the ends of their names."""
    yield "", rows
    if chosen.shuffled:
        yield "_shuffled", [replace(row, media=rows[place - 1].media) for place, row in enumerate(rows)]
    for blend in chosen.blends:
        cache = VisualCache.load(WEIGHTS / "nano/cache", model.encoder.identity)
        cache.blend = blend
        blended = [[cache(medium[None])[0] for medium in row.media] for row in rows]
        yield f"_blend{blend:g}", [replace(row, media=own) for row, own in zip(rows, blended, strict=True)]


@dataclass(frozen=True)
class Row:
    """A dialogue: ids (T,), which of them the assistant says, embeddings of its media."""

    ids: list[int]
    mask: list[int]
    media: Sequence[torch.Tensor]

    @classmethod
    def of(cls, model: AnyToAny, dialogue: toybox.Dialogue) -> "Row":
        messages = [{"role": turn.role, "content": [_part(part) for part in turn.parts]} for turn in dialogue.turns]
        ids, mask, media = encode(messages, model.tokenizer, model.table, reply=False)
        return cls(ids, mask, [embedding(model, part["part"]) for part in media])


def _part(part: str | toybox.MediaPart) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": part.modality, "part": part, "embedding": part}


def embedding(model: AnyToAny, part: toybox.MediaPart) -> torch.Tensor:
    """What the model's core reads of a medium, before any cache."""
    config = model.core.config
    key = config.encoder_identity, config.features, config.image_size, part
    if key not in _EMBEDDINGS:
        rate = MODALITIES[part.modality].rate
        _EMBEDDINGS[key] = model.encode({"type": part.modality, "array": toybox.render_medium(part), "rate": rate})
    return _EMBEDDINGS[key]


@torch.no_grad()
def score(model: AnyToAny, rows: Sequence[Row], name: str) -> dict[str, float]:
    """``loss_NAME`` and ``right_NAME``, means over the rows."""
    losses, right = [], []
    for batch in _batches(rows):
        ids = pad_sequence([torch.tensor(row.ids) for row in batch], batch_first=True)  # (B, T)
        said = pad_sequence([torch.tensor(row.mask) for row in batch], batch_first=True)[:, 1:].bool()
        logits = model.core(ids, **batch_media([row.media for row in batch])).logits[:, :-1].float()
        each = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")  # (B, T - 1)
        losses += ((each * said).sum(1) / said.sum(1)).tolist()
        right += ((logits.argmax(-1) == ids[:, 1:]) | ~said).all(1).tolist()
    return {f"loss_{name}": sum(losses) / len(losses), f"right_{name}": sum(right) / len(right)}


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    by_length = sorted(rows, key=lambda row: len(row.ids))
    for start in range(0, len(rows), BATCH):
        yield by_length[start : start + BATCH]


#: Name in an experiment -> (folder of the run, seed, settings) -> figures.
MEASURES: dict[str, Callable[[Path, int, dict[str, Any]], dict[str, float]]] = {
    "long_context": long_context,
    "replies": replies,
}
