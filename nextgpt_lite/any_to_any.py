"""The composed model: encoders in front, the core in the middle, decoders behind.

from nextgpt_lite import AnyToAny
reply = AnyToAny.from_pretrained("nano").chat([{"role": "user", "content": "Draw a red bell."}])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from adapters.rope_scaling import context_length
from adapters.visual_cache import VisualCache
from data.modalities import MODALITIES
from nextgpt_lite import checkpoint, conversation
from nextgpt_lite.candidates import best_of, candidate_seeds
from nextgpt_lite.experts import Experts
from nextgpt_lite.generate import Prepared, TextStream, generate_ids, signal_conditions
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES

if TYPE_CHECKING:
    from decoders.image_critic import ImageCritic

#: Called with (modality, step, steps) while a medium is made. May raise to cancel.
OnProgress = Callable[[str, int, int], None]
#: Media rates that decoders give: frames a second, hertz.


@dataclass
class ReplyMedium:
    """A medium of a reply. ``array``: image (H, W, 3) uint8, video (F, H, W, 3) uint8, audio (N,) float32."""

    modality: str
    array: np.ndarray
    rate: float | None
    signal_tokens: int
    seconds: float


@dataclass
class Reply:
    """What the model says. ``seconds`` has "text" and each modality made; ``repaired`` counts mended signal tokens."""

    text: str
    media: list[ReplyMedium] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    repaired: int = 0
    dropped_turns: int = 0

    def as_message(self) -> dict[str, Any]:
        """The reply as the assistant's message of the next call."""
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        parts += [{"type": m.modality, "array": m.array, "rate": m.rate} for m in self.media]
        return {"role": "assistant", "content": parts}


class Wanted(NamedTuple):
    """A medium that a reply asks for: the decoder's condition (L, C), and the words that go with it."""

    modality: str
    condition: torch.Tensor
    words: str


class Decoders(dict):
    """Decoders by modality, each loaded when it is first asked for."""

    def __init__(self, loaders: dict[str, Callable[[], Any]]) -> None:
        super().__init__()
        self._loaders = loaders

    def __missing__(self, modality: str) -> Any:
        if modality not in self._loaders:
            raise ValueError(f"this model has no {modality} decoder: it has {', '.join(self._loaders)}")
        self[modality] = self._loaders[modality]()
        return self[modality]


class AnyToAny:
    """Text, images, videos, sounds and points in; text, images, videos and sounds out."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self.folder = folder
        self.manifest = checkpoint.read_manifest(folder)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        base = self._component("language_model")
        self.core = checkpoint.load_core(self._component("core"), base).to(self.device)
        self.table = self.core.table
        self.tokenizer = checkpoint.load_tokenizer(self._component("tokenizer"), self.core.config)
        #: Modality -> how many candidates are made of a medium, of which one is shown (nextgpt_lite.candidates).
        self.candidates: dict[str, int] = dict(self.manifest.get("candidates", {}))
        if self.candidates and self.core.config.visual:
            raise checkpoint.CheckpointError(f"{folder} asks for candidates, but a vision tower cannot compare them")
        self.decoders = Decoders(
            {m: lambda m=m: self._load_decoder(m) for m in OUTPUT_MODALITIES if m in self.core.config.conditions}
        )

    @classmethod
    def from_pretrained(cls, name: str | Path = "nano", device: str | None = None) -> AnyToAny:
        """``"nano"`` (embedded) or a model folder. Raises checkpoint.CheckpointError when it does not fit together."""
        return cls(checkpoint.resolve_model(name), device)

    @property
    def hash(self) -> str:
        """One hash over all components."""
        return checkpoint.model_hash(self.manifest)

    @cached_property
    def encoder(self) -> Any:
        """The media encoder (or CLIP's tower), loaded when first used; refused when the core was trained on another."""
        if self.core.config.visual:
            from encoders.open_clip import OpenClipVision

            encoder = OpenClipVision.from_pretrained(self._component("vision_tower")).to(self.device)
        else:
            from encoders.media_encoder import MediaEncoder

            encoder = MediaEncoder.from_pretrained(self._component("encoder")).to(self.device).eval()
        expected = self.core.config.encoder_identity
        if encoder.identity != expected:
            raise checkpoint.CheckpointError(
                f"the core was trained on encoder {expected[:12]}, this one is {encoder.identity[:12]}"
            )
        if self.core.config.image_size:
            encoder.set_image_size(self.core.config.image_size)
        return encoder

    @cached_property
    def cache(self) -> VisualCache | None:
        """The visual cache, where the model has one."""
        if "cache" not in self.manifest["components"]:
            return None
        return VisualCache.load(self._component("cache"), self.encoder.identity).to(self.device)

    @cached_property
    def critic(self) -> ImageCritic | None:
        """The critic that helps to choose among candidates of pictures and films, where the model has one."""
        if "image_critic" not in self.manifest["components"]:
            return None
        from decoders.image_critic import ImageCritic

        return ImageCritic.from_pretrained(self._component("image_critic")).to(self.device)

    def use_cache(self, folder: str | Path) -> None:
        """Retrieve from the visual cache in ``folder`` (``nextgpt-lite cache``) instead of the model's own.

        Raises ValueError where another encoder made it.
        """
        self.cache = VisualCache.load(Path(folder), self.encoder.identity).to(self.device)

    # -- talking ------------------------------------------------------------------------------------------------

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        seed: int = 0,
        max_new_tokens: int = 160,
        temperature: float = 0.0,
        steps: int | None = None,
        guidance: float | None = None,
        allowed_media: Sequence[str] = OUTPUT_MODALITIES,
        experts: Experts | None = None,
        on_text: Callable[[str], None] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Reply:
        """Answer a conversation, whose last message is the user's.

        Args:
            messages: ``{"role", "content"}``; content a string or parts ``{"type": "text", "text"}`` and
                ``{"type": "image" | "video" | "audio" | "points", "array", "rate"}`` (see data.media_intake).
            seed: of the decoders' noise, and of sampling where ``temperature`` > 0.
            steps, guidance: of the decoders; None = their own.
            allowed_media: what the reply may hold besides text.
            experts: whose words on the media are added to the text (nextgpt_lite.experts).
            on_text: called with the reply's text so far each time it grows.
            on_progress: called with (modality, step, steps); may raise to cancel.
        """
        started = time.perf_counter()
        stream = TextStream(self.tokenizer, self.table, on_text) if on_text else None
        [prepared] = [self.prepare(experts.add_context(messages) if experts else messages)]
        [ids] = generate_ids(
            self.core, self.tokenizer, [prepared], max_new_tokens, temperature=temperature, seed=seed, stream=stream
        )
        reply, wanted = self.read([prepared], [ids])[0]
        reply.seconds["text"] = time.perf_counter() - started
        for number, (modality, condition, words) in enumerate(wanted):
            if modality in allowed_media:
                reply.media += self.decode(
                    modality, condition[None], [seed + number], steps, guidance, on_progress, words=[words]
                )
                reply.seconds[modality] = reply.media[-1].seconds
        return reply

    def chat_batch(
        self, conversations: Sequence[Sequence[dict[str, Any]]], *, seeds: Sequence[int], max_new_tokens: int = 160
    ) -> list[Reply]:
        """As :meth:`chat` for several conversations at once: one text batch, one decoder batch a modality."""
        started = time.perf_counter()
        prepared = [self.prepare(messages) for messages in conversations]
        rows = generate_ids(self.core, self.tokenizer, prepared, max_new_tokens)
        read = self.read(prepared, rows)
        seconds = (time.perf_counter() - started) / max(len(read), 1)
        wanted: dict[str, list[tuple[int, int, Wanted]]] = {}
        for row, (reply, own) in enumerate(read):
            reply.seconds["text"] = seconds
            for number, each in enumerate(own):
                reply.media.append(None)  # type: ignore[arg-type]  # its place; filled below
                wanted.setdefault(each.modality, []).append((row, number, each))
        for modality, entries in wanted.items():
            conditions = torch.stack([each.condition for _, _, each in entries])
            noise = [seeds[row] + number for row, number, _ in entries]
            media = self.decode(modality, conditions, noise, words=[each.words for _, _, each in entries])
            for (row, number, _), medium in zip(entries, media, strict=True):
                read[row][0].media[number] = medium
                read[row][0].seconds[modality] = medium.seconds
        return [reply for reply, _ in read]

    @torch.no_grad()
    def embed(self, part: dict[str, Any]) -> torch.Tensor:
        """Unit embedding (E,) of a media part, by way of the visual cache where the model has one.

        Tokens (P, E) where the core reads patches or a vision tower. A part may bring its own ``embedding``, and with
        it the identity of the ``encoder`` that it is of.
        """
        if part.get("embedding") is not None:
            return self._given_embedding(part)
        encoded = self.encode(part)
        if self.core.config.reads_patches or self.cache is None:
            return encoded
        return self.cache(encoded[None])[0]

    @torch.no_grad()
    def encode(self, part: dict[str, Any]) -> torch.Tensor:
        """What the encoder makes of a media part, before the visual cache: (E,), or tokens (P, E)."""
        if part.get("array") is None:
            raise conversation.ConversationError(f"a part of type {part['type']!r} has no array")
        array = np.asarray(part["array"])
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise conversation.ConversationError(f"the {part['type']} holds values that are not finite")
        encoder = self.encoder
        try:
            tensor = encoder.preprocess(part["type"], array, part.get("rate"))
        except ValueError as error:
            raise conversation.ConversationError(f"the {part['type']} cannot be read: {error}") from error
        batch = tensor[None].to(self.device)
        return (encoder.patches if self.core.config.reads_patches else encoder.embed)(part["type"], batch)[0]

    def _given_embedding(self, part: dict[str, Any]) -> torch.Tensor:
        """The embedding that a part brings, refused where it cannot be one of this model's encoder."""
        config, what = self.core.config, f"the embedding of the {part['type']}"
        embedding = torch.as_tensor(part["embedding"], dtype=torch.float32, device=self.device)
        axes, shape = (2, "(P, {})") if config.reads_patches else (1, "({},)")
        if embedding.ndim != axes or embedding.shape[-1] != config.embedding_width:
            expected = shape.format(config.embedding_width)
            raise conversation.ConversationError(f"{what} has shape {tuple(embedding.shape)}, expected {expected}")
        if part.get("encoder", config.encoder_identity) != config.encoder_identity:
            found, expected = str(part["encoder"])[:12], config.encoder_identity[:12]
            raise conversation.ConversationError(f"{what} is of encoder {found}, this model's is {expected}")
        if not bool(embedding.isfinite().all()):
            raise conversation.ConversationError(f"{what} holds values that are not finite")
        return embedding

    # -- the road that data travels -----------------------------------------------------------------------------

    def prepare(self, messages: Sequence[dict[str, Any]]) -> Prepared:
        """Messages -> (ids, what each medium is to the core, turns left out). ConversationError for what is unclear."""
        ids, media, dropped = self.encode_messages(messages)
        return ids, [self.embed(part) for part in media], dropped

    def encode_messages(self, messages: Sequence[dict[str, Any]]) -> tuple[list[int], list[dict[str, Any]], int]:
        """Messages -> (ids up to where the reply begins, media parts in their order, turns left out)."""
        if not messages or messages[-1].get("role") != "user":
            raise conversation.ConversationError("the last message must be the user's")
        limit = context_length(self.core.config.text_config) - 192
        return conversation.fit(list(messages), self.tokenizer, self.table, limit)

    def read(self, prepared: list, rows: list[list[int]]) -> list[tuple[Reply, list[Wanted]]]:
        """Generated ids -> replies without media yet, and the media that they ask for."""
        completed = [self.table.complete(ids) for ids in rows]
        conditions = signal_conditions(self.core, prepared, [ids for ids, _, _ in completed])
        read = []
        for (ids, modalities, repaired), (_, _, dropped), own in zip(completed, prepared, conditions, strict=True):
            text = self.tokenizer.decode(self.table.words(ids), skip_special_tokens=True).strip()
            reply = Reply(text, repaired=repaired, dropped_turns=dropped)
            spoken = [self.tokenizer.decode(said, skip_special_tokens=True) for said in self.table.words_of_spans(ids)]
            wanted = [Wanted(m, own[m].pop(0), said) for m, said in zip(modalities, spoken, strict=True)]
            read.append((reply, wanted))
        return read

    def decode(
        self,
        modality: str,
        conditions: torch.Tensor,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        on_progress: OnProgress | None = None,
        on_block: Callable[[], None] | None = None,
        words: Sequence[str] | None = None,
    ) -> list[ReplyMedium]:
        """Conditions (B, L, C) -> media of a reply, each with noise from its own seed, or the best of its candidates.

        ``on_block`` is called between the blocks of the decoder's network: a place for other work, and to raise.
        ``words`` are what the reply says of each medium; candidates are compared with them (nextgpt_lite.candidates).
        """
        started = time.perf_counter()
        on_step = None if on_progress is None else lambda step, total: on_progress(modality, step, total)
        decoder = self.decoders[modality]
        settings = {"steps": steps, "guidance": guidance, "on_step": on_step, "on_block": on_block}
        each = self.candidates.get(modality, 1)
        tried = [one for seed in seeds for one in candidate_seeds(seed, each)]
        made = decoder.decode(conditions.repeat_interleave(each, dim=0), seeds=tried, **settings)
        groups = [made[start : start + each] for start in range(0, len(made), each)]
        told = words or [""] * len(groups)
        arrays = [group[self._best(modality, group, said)] for group, said in zip(groups, told, strict=True)]
        seconds = (time.perf_counter() - started) / len(arrays)
        count = self.table.counts[modality]
        return [ReplyMedium(modality, array, MODALITIES[modality].rate, count, seconds) for array in arrays]

    def _best(self, modality: str, candidates: list[np.ndarray], words: str) -> int:
        if len(candidates) < 2:
            return 0
        return best_of(self.encoder, modality, candidates, MODALITIES[modality].rate, words, self.critic)

    def _component(self, name: str) -> Path:
        return checkpoint.component(self.folder, self.manifest, name)

    def _load_decoder(self, modality: str) -> Any:
        from decoders import DECODERS

        decoder = DECODERS[modality].from_pretrained(self._component(f"{modality}_decoder"))
        expected = tuple(self.core.config.conditions[modality])
        if tuple(decoder.condition_shape) != expected:
            raise checkpoint.CheckpointError(
                f"the {modality} decoder takes conditions {tuple(decoder.condition_shape)}, the core makes {expected}"
            )
        return decoder.to(self.device)
