"""Targets of decoding-side training: conditions of captions, by the decoders' text encoders, and latents of media."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import ClapTextModelWithProjection, CLIPTextModel, CLIPTokenizer, RobertaTokenizer

from data.media.loading import MediaError
from data.modalities import MODALITIES
from data.parts import part_folder
from data.strict import read_json
from decoders import load_decoder
from decoders.audio import encode_pooled
from decoders.base import SETTINGS, encode_text
from decoders.image import UnclipDecoder
from decoders.layout import LAYOUT
from decoders.phrases import SLOTS, embed_captions
from encoders.sentence_encoder import SentenceEncoder
from nextgpt_lite.checkpoint import CheckpointError
from train.dialogues.embed import read_and_encode
from train.dialogues.records import Medium, has_content, read_medium
from train.embeddings.store import EmbeddingStore

CAPTION_BATCH, MEDIA_BATCH = 256, 64


@dataclass(frozen=True)
class CaptionEncoder:
    """A decoder's text encoder; ``encode`` makes conditions (B, L, C) of captions, ``condition_shape`` is (L, C)."""

    text_encoder: Any
    tokenizer: Any
    encode: Callable[[Any, Any, Sequence[str]], torch.Tensor]
    condition_shape: tuple[int, int]

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, L, C) of captions."""
        return self.encode(self.tokenizer, self.text_encoder, captions)


def caption_encoders(model_dir: Path, modalities: Iterable[str] | None = None) -> dict[str, Any]:
    """By modality (None = all) from ``text_encoders/`` while decoders are still in training, else from the decoders.

    Images and videos take all hidden states of CLIP, sounds the pooled embedding of CLAP, of unit length. A decoder
    whose folder says so follows phrases, vectors of the sentence encoder, before the rest of it is trained as well.
    """
    folder = model_dir / "text_encoders"
    if not folder.is_dir():
        wanted = decoders_of(model_dir) if modalities is None else list(modalities)
        by_phrases = [modality for modality in wanted if follows_phrases(model_dir / f"{modality}_decoder")]
        found = whole_decoders(model_dir, [modality for modality in wanted if modality not in by_phrases])
        return found | dict.fromkeys(by_phrases, _phrase_encoder()) if by_phrases else found
    encoder = CLIPTextModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
    shape = (encoder.config.max_position_embeddings, encoder.config.hidden_size)
    clip = CaptionEncoder(encoder, CLIPTokenizer.from_pretrained(folder / "clip_tokenizer"), encode_text, shape)
    encoder = ClapTextModelWithProjection.from_pretrained(folder / "clap", dtype=torch.float32).eval()
    tokenizer, shape = RobertaTokenizer.from_pretrained(folder / "clap_tokenizer"), (1, encoder.config.projection_dim)
    found = {"image": clip, "video": clip, "audio": CaptionEncoder(encoder, tokenizer, encode_pooled, shape)}
    return {modality: found[modality] for modality in (found if modalities is None else modalities)}


def follows_phrases(folder: Path) -> bool:
    """Whether the decoder of this folder, whole or in training, takes phrases as its condition."""
    said = read_json(folder / SETTINGS).get("conditions") if (folder / SETTINGS).is_file() else None
    return said == "phrases" or (folder / LAYOUT).is_dir()


def _phrase_encoder() -> CaptionEncoder:
    encoder = SentenceEncoder.from_pretrained(part_folder("minilm"))
    return CaptionEncoder(encoder, None, lambda _, embed, texts: embed_captions(texts, embed), (SLOTS, encoder.width))


def decoders_of(model_dir: Path) -> list[str]:
    """Modalities of the decoders in a model folder."""
    return [modality for modality in MODALITIES if (model_dir / f"{modality}_decoder").is_dir()]


def whole_decoders(model_dir: Path, modalities: Iterable[str] | None = None) -> dict[str, Any]:
    """The decoders themselves, for their noise loss; by modality, None = all. ValueError for one that is missing."""
    wanted = decoders_of(model_dir) if modalities is None else modalities
    return {modality: load_decoder(model_dir / f"{modality}_decoder") for modality in wanted}


def target_decoders(
    model_dir: Path, conditions: Mapping[str, Sequence[int]], whole: bool, embed_text: Callable[[list[str]], Any]
) -> dict[str, Any]:
    """What reads the captions of each modality that there are ``conditions`` for; ``whole``: the decoders themselves.

    Decoders that follow image embeddings read them by ``embed_text``. CheckpointError where a condition has another
    shape.
    """
    decoders = (whole_decoders if whole else caption_encoders)(model_dir, conditions)
    for modality, decoder in decoders.items():
        found, expected = tuple(decoder.condition_shape), tuple(conditions[modality])
        if found != expected:
            raise CheckpointError(f"the {modality} decoder takes conditions {found}, the core makes {expected}")
        if isinstance(decoder, UnclipDecoder):
            decoder.embed_text = embed_text
    return decoders


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
        self._broken: dict[Medium, str] = {}

    def prepare(self, modality: str, media: Sequence[Medium]) -> dict[Medium, str]:
        """Encode media and keep the latents; returns which could not be read, and why."""
        made, broken = self._made(modality, media)
        self.known[modality] |= made
        return broken

    def read(self, media: Mapping[str, Iterable[Medium]]) -> None:
        """Encode media of a batch that is to be made, by modality; what the batch before had goes."""
        self._of_batch, self._broken = {}, {}
        for modality in self.decoders.keys() & media.keys():
            self._add(modality, media[modality])

    def batch(self, modality: str, media: Sequence[Medium]) -> dict[str, torch.Tensor]:
        """``latents_<modality>`` (N, ...) of the media of a batch; where some are captions alone,
        ``latents_at_<modality>`` (N,) says which spans they belong to. Nothing for a decoder without a loss.

        MediaError for a medium that cannot be read.
        """
        present = [number for number, medium in enumerate(media) if has_content(medium)]
        if modality not in self.decoders or not present:
            return {}
        latents = {f"latents_{modality}": torch.stack([self._latents(modality, media[n]).float() for n in present])}
        return latents | ({f"latents_at_{modality}": torch.tensor(present)} if len(present) < len(media) else {})

    def _latents(self, modality: str, medium: Medium) -> torch.Tensor:
        if medium in self.known[modality]:
            return self.known[modality][medium]
        if medium not in self._of_batch and medium not in self._broken:  # it came in place of another
            self._add(modality, [medium])
        if medium in self._broken:
            raise MediaError(self._broken[medium])
        return self._of_batch[medium]

    def _add(self, modality: str, media: Iterable[Medium]) -> None:
        made, broken = self._made(modality, media)
        self._of_batch |= made
        self._broken |= broken

    def _made(self, modality: str, media: Iterable[Medium]) -> tuple[dict[Medium, torch.Tensor], dict[Medium, str]]:
        """Latents of those media that have no kept ones, and why others cannot be read."""
        new = [medium for medium in dict.fromkeys(media) if has_content(medium) and medium not in self.known[modality]]
        return read_and_encode(new, lambda medium: self._read(modality, medium), self._encode, MEDIA_BATCH)

    def _read(self, modality: str, medium: Medium) -> Any:
        return self.decoders[modality].resize(*read_medium(medium))

    @torch.no_grad()
    def _encode(self, modality: str, arrays: Sequence[Any]) -> torch.Tensor:
        return self.decoders[modality].encode_media(arrays).half().cpu()
