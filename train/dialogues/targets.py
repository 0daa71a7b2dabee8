"""Targets of decoding-side training: conditions of captions, and latents of the media that are to be generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from data.media.loading import MediaError
from train.dialogues.media import Medium, has_content, read_medium
from train.embeddings.store import EmbeddingStore

CAPTION_BATCH, MEDIA_BATCH = 256, 64


class CaptionConditions:
    """What the decoders' own text encoders give for captions (float16): stored, computed once a caption, or each time.

    ``stores`` are read first. Captions that :meth:`prepare` has seen are kept, others are computed when needed.
    """

    def __init__(self, decoders: Mapping[str, Any], stores: Sequence[EmbeddingStore] = ()) -> None:
        self.decoders = decoders
        self.stores = {
            modality: [store for store in stores if store.has_conditions(modality, decoder)]
            for modality, decoder in decoders.items()
        }
        self.known: dict[str, dict[str, torch.Tensor]] = {modality: {} for modality in decoders}

    def prepare(self, modality: str, captions: Sequence[str]) -> None:
        """Compute the conditions of captions."""
        new = sorted({caption for caption in captions if self._stored(modality, caption) is None})
        for start in range(0, len(new), CAPTION_BATCH):
            chunk = new[start : start + CAPTION_BATCH]
            self.known[modality] |= dict(zip(chunk, self._encode(modality, chunk), strict=True))

    def stack(self, modality: str, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (N, L, C) of captions."""
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

    def __init__(self, decoders: Mapping[str, Any]) -> None:
        self.decoders = decoders
        self.known: dict[str, dict[Medium, torch.Tensor]] = {modality: {} for modality in decoders}
        self._of_batch: dict[Medium, torch.Tensor] = {}

    def prepare(self, modality: str, media: Sequence[Medium]) -> dict[Medium, str]:
        """Encode media and keep the latents; returns which could not be read, and why."""
        broken: dict[Medium, str] = {}
        new = [medium for medium in dict.fromkeys(media) if has_content(medium) and medium not in self.known[modality]]
        for start in range(0, len(new), MEDIA_BATCH):
            arrays = {}
            for medium in new[start : start + MEDIA_BATCH]:
                try:
                    arrays[medium] = self._read(modality, medium)
                except MediaError as error:
                    broken[medium] = str(error)
            if arrays:
                latents = self._encode(modality, list(arrays.values()))
                self.known[modality] |= dict(zip(arrays, latents, strict=True))
        return broken

    def batch(self, modality: str, media: Sequence[Medium]) -> dict[str, torch.Tensor]:
        """``latents_<modality>`` (N, ...) of the media of a batch; where some are captions alone,
        ``latents_at_<modality>`` (N,) says which spans they belong to. Nothing for a decoder without a loss.

        MediaError for a medium that :meth:`prepare` has not seen and that cannot be read.
        """
        if modality not in self.decoders:
            return {}
        present = [number for number, medium in enumerate(media) if has_content(medium)]
        if not present:
            return {}
        latents = {f"latents_{modality}": torch.stack([self._latents(modality, media[n]).float() for n in present])}
        return latents | ({f"latents_at_{modality}": torch.tensor(present)} if len(present) < len(media) else {})

    def forget(self) -> None:
        """Drop what was computed for the batch before."""
        self._of_batch.clear()

    def _latents(self, modality: str, medium: Medium) -> torch.Tensor:
        if medium in self.known[modality]:
            return self.known[modality][medium]
        if medium not in self._of_batch:
            self._of_batch[medium] = self._encode(modality, [self._read(modality, medium)])[0]
        return self._of_batch[medium]

    def _read(self, modality: str, medium: Medium) -> Any:
        return self.decoders[modality].resize(*read_medium(medium))

    @torch.no_grad()
    def _encode(self, modality: str, arrays: Sequence[Any]) -> torch.Tensor:
        return self.decoders[modality].encode_media(arrays).half().cpu()
