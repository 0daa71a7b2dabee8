"""Dialogues made ready for the stages: token rows, media embeddings, caption conditions.

Encoder and text encoders are frozen in every stage, so what they give is computed once and kept in ``.cache/``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from data.toybox import render
from data.toybox.dialogues import Dialogue, MediaPart, dialogue
from data.toybox.outsiders import outsider
from nextgpt_lite.conversation import encode
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES, SignalTable

CACHE = Path(".cache")
RATES = {"video": 4.0, "audio": 16_000.0}
EMBEDDING_BATCH = 64


@dataclass(frozen=True)
class Row:
    """One dialogue: ids, which of them the assistant says, media by number, captions by modality."""

    ids: list[int]
    spoken: list[int]
    media: list[int]
    captions: dict[str, list[str]]

    def __getitem__(self, index: int) -> list[int]:
        """The first member is the ids: what train.bins sorts by."""
        return (self.ids, self.spoken)[index]


class DialogueRows:
    """Token rows of ``count`` dialogues, and the table of media embeddings (N, E) that they point into."""

    def __init__(
        self,
        encoder: Any,
        tokenizer: PreTrainedTokenizerBase,
        table: SignalTable,
        seed: int,
        count: int,
        kinds: Sequence[str] = (),
    ) -> None:
        self.parts: list[MediaPart] = []
        self.kinds: list[str] = []
        self.rows: list[Row] = []
        for index in range(count):
            spoken = dialogue(seed, index, kind=kinds[index % len(kinds)] if kinds else None)
            self.kinds.append(spoken.kind)
            self.rows.append(self._row(spoken, tokenizer, table))
        self.embeddings = embed_parts(encoder, self.parts)

    def _row(self, spoken: Dialogue, tokenizer: PreTrainedTokenizerBase, table: SignalTable) -> Row:
        ids, mask, media = encode(messages_of(spoken), tokenizer, table, reply=False)
        numbers = []
        for part in media:
            numbers.append(len(self.parts))
            self.parts.append(part["part"])
        captions: dict[str, list[str]] = {modality: [] for modality in OUTPUT_MODALITIES}
        for turn in spoken.turns:
            for part in turn.parts:
                if turn.role == "assistant" and isinstance(part, MediaPart):
                    captions[part.modality].append(part.caption)
        return Row(ids, mask, numbers, captions)


def messages_of(spoken: Dialogue) -> list[dict[str, Any]]:
    """A dialogue as messages whose media parts carry their MediaPart (``part``) in place of an array."""
    messages = []
    for turn in spoken.turns:
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, MediaPart):
                content.append({"type": part.modality, "part": part, "embedding": part})
            else:
                content.append({"type": "text", "text": part})
        messages.append({"role": turn.role, "content": content})
    return messages


def medium_of(part: MediaPart) -> Any:
    """The array of a media part: a render of its scene, or something from outside the world."""
    return outsider(part.modality, *part.outsider) if part.scene is None else render(part.scene, part.modality)


@torch.no_grad()
def embed_parts(encoder: Any, parts: Sequence[MediaPart]) -> torch.Tensor:
    """Unit embeddings (N, E) of media parts, from the cache where they were computed before."""
    key = hashlib.sha256((encoder.identity + repr(parts)).encode()).hexdigest()[:24]
    path = CACHE / f"embeddings-{key}.safetensors"
    if path.is_file():
        return load_file(path)["embeddings"]
    embeddings = torch.zeros(len(parts), encoder.width)
    order = sorted(range(len(parts)), key=lambda i: parts[i].modality)
    batches = _batches(order, parts)
    for batch in tqdm(batches, desc="embedding media", unit="batch"):
        modality = parts[batch[0]].modality
        tensors = [encoder.preprocess(modality, medium_of(parts[i]), RATES.get(modality)) for i in batch]
        embeddings[batch] = encoder.embed(modality, torch.stack(tensors)).cpu()
    CACHE.mkdir(exist_ok=True)
    aside = path.with_suffix(".writing")
    save_file({"embeddings": embeddings}, aside)
    aside.rename(path)
    return embeddings


def _batches(order: list[int], parts: Sequence[MediaPart]) -> list[list[int]]:
    """Runs of one modality, at most EMBEDDING_BATCH long."""
    batches: list[list[int]] = []
    for i in order:
        fits = batches and len(batches[-1]) < EMBEDDING_BATCH and parts[batches[-1][0]].modality == parts[i].modality
        if fits:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


class CaptionConditions:
    """What the decoders' own text encoders give for captions, computed once a caption (float16)."""

    def __init__(self, decoders: dict[str, Any]) -> None:
        self.decoders = decoders
        self.known: dict[str, dict[str, torch.Tensor]] = {modality: {} for modality in decoders}

    def add(self, rows: Sequence[Row]) -> None:
        """Compute the conditions of all captions of ``rows``."""
        for modality, decoder in self.decoders.items():
            captions = sorted({c for row in rows for c in row.captions[modality]} - self.known[modality].keys())
            for start in range(0, len(captions), 256):
                chunk = captions[start : start + 256]
                conditions = decoder.encode_caption(chunk).half().cpu()
                self.known[modality] |= dict(zip(chunk, conditions, strict=True))

    def stack(self, modality: str, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (N, L, C) of captions that :meth:`add` has seen."""
        length, channels = self.decoders[modality].condition_shape
        found = [self.known[modality][caption].float() for caption in captions]
        return torch.stack(found) if found else torch.zeros(0, length, channels)
