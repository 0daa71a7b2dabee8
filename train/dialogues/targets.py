"""What decoding-side training aims at: conditions of captions, and latents of the media that should have been made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from data.media_intake import MediaError
from train.dialogues.fitting import fitted
from train.dialogues.media import Part, is_there, read_part
from train.embeddings.store import EmbeddingStore

CAPTION_BATCH, MEDIA_BATCH = 256, 64


class CaptionConditions:
    """What the decoders' own text encoders give for captions (float16): stored, computed once a caption, or each time.

    ``stores`` are asked first. Captions that :meth:`add` has seen are kept; others are computed when they are needed.
    """

    def __init__(self, decoders: dict[str, Any], stores: Sequence[EmbeddingStore] = ()) -> None:
        self.decoders = decoders
        self.stores = {
            modality: [store for store in stores if store.has_conditions(modality, decoder)]
            for modality, decoder in decoders.items()
        }
        self.known: dict[str, dict[str, torch.Tensor]] = {modality: {} for modality in decoders}

    def add(self, captions: Mapping[str, Sequence[str]]) -> None:
        """Compute the conditions of captions by modality."""
        for modality in self.decoders:
            new = sorted({c for c in captions.get(modality, ()) if self._stored(modality, c) is None})
            new = [caption for caption in new if caption not in self.known[modality]]
            for start in range(0, len(new), CAPTION_BATCH):
                chunk = new[start : start + CAPTION_BATCH]
                self.known[modality] |= dict(zip(chunk, self._encode(modality, chunk), strict=True))

    def stack(self, modality: str, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (N, L, C) of captions."""
        if not captions:
            return torch.zeros(0, *self.decoders[modality].condition_shape)
        found = {caption: self._stored(modality, caption) for caption in dict.fromkeys(captions)}
        missing = [caption for caption, condition in found.items() if condition is None]
        found |= dict(zip(missing, self._encode(modality, missing), strict=True)) if missing else {}
        return torch.stack([condition.float() for caption in captions if (condition := found[caption]) is not None])

    def _stored(self, modality: str, caption: str) -> torch.Tensor | None:
        if caption in self.known[modality]:
            return self.known[modality][caption]
        stored = (store.condition(modality, caption) for store in self.stores[modality])
        return next((condition for condition in stored if condition is not None), None)

    def _encode(self, modality: str, captions: Sequence[str]) -> torch.Tensor:
        return self.decoders[modality].encode_caption(captions).half().cpu()


class TargetLatents:
    """What the decoders' autoencoders give for the media that the assistant makes (float16)."""

    def __init__(self, decoders: dict[str, Any]) -> None:
        self.decoders = decoders
        self.known: dict[str, dict[Part, torch.Tensor]] = {modality: {} for modality in decoders}
        self._now: dict[Part, torch.Tensor] = {}  # of the present batch

    def forget(self) -> None:
        """What was read for the last batch."""
        self._now.clear()

    def add(self, made: Mapping[str, Sequence[Part]]) -> dict[Part, str]:
        """Encode media by modality and keep what comes out; says which could not be read, and why."""
        broken: dict[Part, str] = {}
        for modality in self.decoders:
            parts = [part for part in dict.fromkeys(made.get(modality, ())) if is_there(part)]
            parts = [part for part in parts if part not in self.known[modality]]
            for start in range(0, len(parts), MEDIA_BATCH):
                arrays = {part: self._read(modality, part, broken) for part in parts[start : start + MEDIA_BATCH]}
                whole = {part: array for part, array in arrays.items() if array is not None}
                if whole:
                    latents = self._encode(modality, list(whole.values()))
                    self.known[modality] |= dict(zip(whole, latents, strict=True))
        return broken

    def targets(self, modality: str, made: Sequence[Part]) -> dict[str, torch.Tensor]:
        """Latents of the media that a batch makes; where captions alone stand, which of its spans they are of.

        Nothing for a modality whose decoder is not asked.
        """
        if modality not in self.decoders:
            return {}
        there = [number for number, part in enumerate(made) if is_there(part)]
        if not there:
            return {}
        targets = {f"latents_{modality}": self.stack(modality, [made[number] for number in there])}
        return targets | ({f"latents_at_{modality}": torch.tensor(there)} if len(there) < len(made) else {})

    def stack(self, modality: str, parts: Sequence[Part]) -> torch.Tensor:
        """Latents (N, ...) of media that are there. MediaError for one that :meth:`add` has not seen and is broken."""
        return torch.stack([self._latents(modality, part).float() for part in parts])

    def _latents(self, modality: str, part: Part) -> torch.Tensor:
        if part in self.known[modality]:
            return self.known[modality][part]
        if part not in self._now:
            array = fitted(*read_part(part), self.decoders[modality])
            self._now[part] = self._encode(modality, [array])[0]
        return self._now[part]

    def _read(self, modality: str, part: Part, broken: dict[Part, str]) -> Any:
        try:
            return fitted(*read_part(part), self.decoders[modality])
        except MediaError as error:
            broken[part] = str(error)
            return None

    @torch.no_grad()
    def _encode(self, modality: str, arrays: Sequence[Any]) -> torch.Tensor:
        return self.decoders[modality].encode_media(arrays).half().cpu()
