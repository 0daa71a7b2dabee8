"""Dialogues made ready for the stages: token rows, media embeddings, caption conditions.

Encoder and text encoders are frozen in every stage, so what they give is computed once and kept in ``.cache/``.
"""

from __future__ import annotations

import hashlib
import itertools
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
#: So many dialogues are read for each that can be used, before it is said that there are none.
MOST_SKIPPED = 50


@dataclass(frozen=True)
class Row:
    """One dialogue: ids, which of them the assistant says, media by number; what the assistant makes, by modality."""

    ids: list[int]
    spoken: list[int]
    media: list[int]
    captions: dict[str, list[str]]
    made: dict[str, list[MediaPart]]

    def __getitem__(self, index: int) -> list[int]:
        """The first member is the ids: what train.bins sorts by."""
        return (self.ids, self.spoken)[index]


class DialogueRows:
    """Token rows of ``count`` dialogues, and the media embeddings that they point into.

    ``embeddings`` are a table (N, E), or where ``features`` is "patches" a list of patch tokens (P, E). Dialogues with
    media that the encoder does not read are left out. ValueError where hardly any is left.
    """

    def __init__(
        self,
        encoder: Any,
        tokenizer: PreTrainedTokenizerBase,
        table: SignalTable,
        seed: int,
        count: int,
        kinds: Sequence[str] = (),
        features: str = "pooled",
    ) -> None:
        self.parts: list[MediaPart] = []
        self.kinds: list[str] = []
        self.rows: list[Row] = []
        for index in itertools.count():
            if len(self.rows) == count:
                break
            kind = kinds[len(self.rows) % len(kinds)] if kinds else None
            spoken = dialogue(seed, index, kind=kind)
            if self._read(spoken, tokenizer, table, encoder.modalities):
                self.kinds.append(spoken.kind)
            elif index > MOST_SKIPPED * (count + 1):
                known = ", ".join(encoder.modalities)
                raise ValueError(
                    f"too few dialogues of kind {kind or 'any'} have media that the encoder reads: {known}"
                )
        self.embeddings = embed_parts(encoder, self.parts, features)

    def _read(
        self, spoken: Dialogue, tokenizer: PreTrainedTokenizerBase, table: SignalTable, modalities: Sequence[str]
    ) -> bool:
        """Add the row of a dialogue, unless a medium that comes in is of another modality: then False."""
        ids, mask, media = encode(messages_of(spoken), tokenizer, table, reply=False)
        if any(part["part"].modality not in modalities for part in media):
            return False
        numbers = []
        for part in media:
            numbers.append(len(self.parts))
            self.parts.append(part["part"])
        made: dict[str, list[MediaPart]] = {modality: [] for modality in OUTPUT_MODALITIES}
        for turn in spoken.turns:
            for part in turn.parts:
                if turn.role == "assistant" and isinstance(part, MediaPart):
                    made[part.modality].append(part)
        captions = {modality: [part.caption for part in parts] for modality, parts in made.items()}
        self.rows.append(Row(ids, mask, numbers, captions, made))
        return True


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
def embed_parts(
    encoder: Any, parts: Sequence[MediaPart], features: str = "pooled"
) -> torch.Tensor | list[torch.Tensor]:
    """Unit embeddings (N, E) of media parts, or their patch tokens, from the cache where they were computed before."""
    told = encoder.identity + repr(parts)
    if features == "patches":
        told += f"patches at {encoder.image_size}"
    elif encoder.image_size != encoder.config.imagebind.towers["vision"].input_shape[-1]:
        told += f"at {encoder.image_size}"
    path = CACHE / f"embeddings-{hashlib.sha256(told.encode()).hexdigest()[:24]}.safetensors"
    if path.is_file():
        return _in_order(load_file(path))
    embeddings: Any = torch.zeros(len(parts), encoder.width)
    if features == "patches":
        embeddings = [torch.zeros(0, encoder.width)] * len(parts)
    order = sorted(range(len(parts)), key=lambda i: parts[i].modality)
    batches = _batches(order, parts)
    for batch in tqdm(batches, desc="embedding media", unit="batch"):
        modality = parts[batch[0]].modality
        tensors = [encoder.preprocess(modality, medium_of(parts[i]), RATES.get(modality)) for i in batch]
        made = (encoder.patches if features == "patches" else encoder.embed)(modality, torch.stack(tensors))
        for i, embedding in zip(batch, made, strict=True):
            embeddings[i] = embedding.cpu()
    CACHE.mkdir(exist_ok=True)
    aside = path.with_suffix(".writing")
    table = {"embeddings": embeddings} if features == "pooled" else {str(i): e for i, e in enumerate(embeddings)}
    save_file({name: tensor.contiguous() for name, tensor in table.items()}, aside)
    aside.rename(path)
    return embeddings


def _in_order(stored: dict[str, torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    return stored["embeddings"] if "embeddings" in stored else [stored[str(i)] for i in range(len(stored))]


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


class TargetLatents:
    """What the decoders' autoencoders give for the media that the assistant makes, computed once each (float16)."""

    def __init__(self, decoders: dict[str, Any]) -> None:
        self.decoders = decoders
        self.known: dict[str, dict[MediaPart, torch.Tensor]] = {modality: {} for modality in decoders}

    @torch.no_grad()
    def add(self, rows: Sequence[Row]) -> None:
        """Encode all media that the assistant makes in ``rows``."""
        for modality, decoder in self.decoders.items():
            made = dict.fromkeys(part for row in rows for part in row.made[modality])
            parts = [part for part in made if part not in self.known[modality]]
            for start in range(0, len(parts), EMBEDDING_BATCH):
                chunk = parts[start : start + EMBEDDING_BATCH]
                latents = decoder.encode_media([medium_of(part) for part in chunk]).half().cpu()
                self.known[modality] |= dict(zip(chunk, latents, strict=True))

    def stack(self, modality: str, parts: Sequence[MediaPart]) -> torch.Tensor:
        """Latents (N, ...) of media that :meth:`add` has seen."""
        return torch.stack([self.known[modality][part].float() for part in parts])
