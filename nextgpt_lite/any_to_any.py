"""The composed model: prepare a conversation, generate the reply's text, decode the media that it asks for.

from nextgpt_lite import AnyToAny
reply = AnyToAny.from_pretrained("nano").chat([{"role": "user", "content": "Draw a red bell."}])
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from adapters.long_context import context_length
from adapters.visual_cache import VisualCache
from nextgpt_lite import checkpoint, conversation
from nextgpt_lite.candidates import decode_best
from nextgpt_lite.chat_template import end_ids
from nextgpt_lite.checkpoint import CONTEXT_ADAPTER, Decoders, load_encoder
from nextgpt_lite.conversation_media import MediaRequest, Reply, ReplyMedium
from nextgpt_lite.decoding import Decoding, PrefixCache
from nextgpt_lite.decoding.quick_core import load_quick_core
from nextgpt_lite.experts import Experts, own_experts
from nextgpt_lite.generate import Prepared, Row, Sampling, TextStream, end_tokens, generate, reply_text
from nextgpt_lite.language_models import dtype_of

if TYPE_CHECKING:
    from decoders.image_critic import ImageCritic
    from nextgpt_lite.model import AnyToAnyCore

log = logging.getLogger(__name__)

#: Called with (modality, step, steps) while a medium is generated. May raise to cancel.
OnProgress = Callable[[str, int, int], None]
#: Positions of the context that are kept free for the reply.
REPLY_POSITIONS = 192
#: Parameters of the core below which handing work to a second thread costs more than the thread saves.
SMALL_CORE = 50_000_000
#: CPU threads that torch found fit before anything was changed.
ALL_THREADS = torch.get_num_threads()


class AnyToAny:
    """Text and media in, text and media out: encoders, the core and decoders of one model folder."""

    core: "AnyToAnyCore"

    def __init__(
        self,
        folder: Path,
        device: str | None = None,
        weights: str = "exact",
        quick: bool = False,
        precision: str = "float32",
        offload: bool = False,
    ) -> None:
        self.folder = folder
        #: How its text is decoded; what conversations have read is kept for their next turn.
        self.decoding = Decoding(weights=weights, prefixes=PrefixCache())
        self.manifest = checkpoint.read_manifest(folder)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.core = self._load_core(quick and precision == "float32", precision)
        self.table = self.core.table
        self.reads_patches = self.core.config.reads_patches
        #: The most ids of a prompt: a reply fits behind it.
        self.prompt_length = context_length(self.core.config.text_config) - REPLY_POSITIONS
        #: The most ids of a prompt with earlier turns: no more than the core was trained on.
        self.history_length = min(self.core.config.trained_length or self.prompt_length, self.prompt_length)
        self.tokenizer = checkpoint.load_tokenizer(self.folder_of("tokenizer"), self.core.config)
        self.end_tokens = end_tokens(self.core, self.tokenizer) | end_ids(self.tokenizer)
        #: Modality -> how many candidates are made of a medium, of which one is shown (nextgpt_lite.candidates).
        self.candidates: dict[str, int] = dict(self.manifest.get("candidates", {}))
        if self.candidates and self.core.config.visual:
            raise checkpoint.CheckpointError(f"{folder} asks for candidates, but a vision tower cannot compare them")
        self.dtype, self.offload = dtype_of(precision), offload
        self.decoders = Decoders(self.folder_of, self.core.config.conditions, self.device, self.dtype, offload)
        #: Those whose words are added to every conversation.
        self.experts = own_experts(self.manifest.get("experts", ()), lambda: self.encoder)

    def _load_core(self, quick: bool, precision: str) -> Any:
        folder, base = self.folder_of("core"), self.folder_of("language_model")
        adapter = self.folder_of(CONTEXT_ADAPTER) if CONTEXT_ADAPTER in self.manifest["components"] else None

        def load_whole() -> Any:
            from nextgpt_lite.core_checkpoint import hold_in, load_core  # imported late: it brings most of transformers

            core: Any = hold_in(load_core(folder, base, precision, adapter), precision)
            return core.to(self.device)

        core = load_quick_core(folder, base, adapter, load_whole) if quick and self.device.type == "cpu" else None
        return core or load_whole()

    @classmethod
    def from_pretrained(cls, name: str | Path = "nano", device: str | None = None, **settings: Any) -> Self:
        """``"nano"`` (embedded) or a model folder. Raises checkpoint.CheckpointError when it does not fit together.

        ``weights`` "int8" rounds the language model's: text is quicker on a CPU (nextgpt_lite.decoding). ``quick``
        loads sooner what only answers (nextgpt_lite.decoding.quick_core): its core cannot be changed or trained.
        ``precision`` is in language_models.PRECISIONS; ``offload`` keeps decoders in main memory while they are idle.
        """
        return cls(checkpoint.resolve_model(name), device, **settings)

    def folder_of(self, component: str) -> Path:
        """The folder of a component, its hash checked against the manifest."""
        return checkpoint.component(self.folder, self.manifest, component)

    @property
    def hash(self) -> str:
        """One hash over all components."""
        return checkpoint.model_hash(self.manifest)

    @cached_property
    def encoder(self) -> Any:
        """The media encoder (or CLIP's tower), loaded when first used; refused when the core was trained on another."""
        name = "vision_tower" if self.core.config.visual else "encoder"
        return load_encoder(self.folder_of(name), self.core.config).hold_in(self.dtype).to(self.device)

    @cached_property
    def cache(self) -> VisualCache | None:
        """The visual cache, where the model has one."""
        if "cache" not in self.manifest["components"]:
            return None
        return VisualCache.load(self.folder_of("cache"), self.encoder.identity).to(self.device)

    @cached_property
    def critic(self) -> "ImageCritic | None":
        """The critic that helps to choose among candidates of images and videos, where the model has one."""
        if "image_critic" not in self.manifest["components"]:
            return None
        from decoders.image_critic import ImageCritic

        return ImageCritic.from_pretrained(self.folder_of("image_critic")).to(self.device)

    def use_cache(self, folder: str | Path) -> None:
        """Retrieve from the visual cache in ``folder`` (``nextgpt-lite cache``) instead of the model's own. ValueError
        where another encoder made it."""
        self.cache = VisualCache.load(Path(folder), self.encoder.identity).to(self.device)

    # -- conversations --------------------------------------------------------------------------------------------

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        seed: int = 0,
        max_new_tokens: int = 160,
        temperature: float = 0.0,
        steps: int | None = None,
        guidance: float | None = None,
        allowed_media: Collection[str] | None = None,
        experts: Experts | None = None,
        on_text: Callable[[str], None] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Reply:
        """Answer a conversation, whose last message is the user's.

        Args:
            messages: ``{"role", "content"}``; content a string or parts ``{"type": "text", "text"}`` and
                ``{"type": "image" | "video" | "audio" | "points", "array", "rate"}`` (see data.media.loading).
            seed: of the decoders' noise, and of sampling where ``temperature`` > 0.
            steps, guidance: of the decoders; None = their own.
            allowed_media: which media the reply may hold besides text; None = all.
            experts: whose words on the media are added to the text (nextgpt_lite.experts).
            on_text: called with the reply's text so far each time it grows.
            on_progress: called with (modality, step, steps); may raise to cancel.
        """
        [reply] = self.chat_batch(
            [experts.add_context(messages) if experts else messages],
            seeds=[seed],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            steps=steps,
            guidance=guidance,
            allowed_media=allowed_media,
            on_token=TextStream(self.tokenizer, self.table, on_text).update if on_text else None,
            on_progress=on_progress,
        )
        return reply

    def chat_batch(
        self,
        conversations: Sequence[Sequence[dict[str, Any]]],
        *,
        seeds: Sequence[int],
        max_new_tokens: int = 160,
        temperature: float = 0.0,
        steps: int | None = None,
        guidance: float | None = None,
        allowed_media: Collection[str] | None = None,
        on_token: Callable[[Row], None] | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Reply]:
        """As :meth:`chat` for several conversations at once: one text batch, then one decoder batch a modality.

        ``on_token`` is called with each conversation's row after each token (nextgpt_lite.generate).
        """
        started = time.perf_counter()
        prepared = [self.prepare(messages) for messages in conversations]
        sampling = [Sampling(max_new_tokens, temperature, seed) for seed in seeds]
        rows = generate(self.core, self.end_tokens, list(zip(prepared, sampling, strict=True)), on_token, self.decoding)
        read = [self.read(row) for row in rows]
        seconds = (time.perf_counter() - started) / max(len(read), 1)
        wanted: dict[str, list[tuple[int, int, MediaRequest]]] = {}
        for place, (reply, requests) in enumerate(read):
            reply.seconds["text"] = seconds
            for number, request in enumerate(requests):
                if allowed_media is None or request.modality in allowed_media:
                    wanted.setdefault(request.modality, []).append((place, number, request))
        made: dict[tuple[int, int], ReplyMedium] = {}
        for modality, entries in wanted.items():
            conditions = torch.stack([request.condition for *_, request in entries])
            noise = [seeds[place] + number for place, number, _ in entries]
            words = [request.words for *_, request in entries]
            media = self.decode(modality, conditions, noise, steps, guidance, on_progress, words=words)
            for (place, number, request), medium in zip(entries, media, strict=True):
                medium.position = request.position
                made[place, number] = medium
        for (place, _), medium in sorted(made.items(), key=lambda each: each[0]):
            read[place][0].media.append(medium)
            read[place][0].seconds[medium.modality] = medium.seconds
        return [reply for reply, _ in read]

    def prepare(self, messages: Sequence[dict[str, Any]]) -> Prepared:
        """Messages as the core reads them. ConversationError for what cannot be understood."""
        ids, media, dropped = self.encode_messages(self.experts.add_context(messages) if self.experts else messages)
        return Prepared(ids, [self.embed(part) for part in media], dropped)

    def encode_messages(self, messages: Sequence[dict[str, Any]]) -> tuple[list[int], list[dict[str, Any]], int]:
        """Messages -> (ids up to where the reply begins, media parts in their order, turns left out)."""
        limits = self.prompt_length, self.history_length
        return conversation.fit(list(messages), self.tokenizer, self.table, *limits)

    def read(self, row: Row) -> tuple[Reply, list[MediaRequest]]:
        """A finished row -> the reply, without media yet, and the media that it asks for; no decoder, no medium."""
        text, positions = reply_text(self.tokenizer, self.table, row.reply_ids)
        reply = Reply(text, repaired=row.repaired, dropped_turns=row.prepared.dropped_turns)
        words = [self.decode_text(ids) for ids in self.table.words_of_spans(row.reply_ids)]
        requests = [
            MediaRequest(modality, condition, own, position)
            for (modality, condition), own, position in zip(row.conditions, words, positions, strict=True)
            if condition is not None and self._makes(modality)
        ]
        return reply, requests

    def _makes(self, modality: str) -> bool:
        """Whether the model has a decoder of this modality: of one that is in training some may be missing."""
        if modality in self.decoders or f"{modality}_decoder" in self.manifest["components"]:
            return True
        log.warning("%s has no %s_decoder: the reply comes without the %s", self.folder, modality, modality)
        return False

    def decode_text(self, ids: list[int]) -> str:
        """The words of ids, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    # -- media in and out -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, part: dict[str, Any]) -> torch.Tensor:
        """Unit embedding (E,) of a media part, by way of the visual cache where the model has one.

        Tokens (P, E) where the core reads patches or a vision tower. A part may bring its own ``embedding``, and with
        it the identity of the ``encoder`` that it is of.
        """
        if part.get("embedding") is not None:
            return self._given_embedding(part)
        encoded = self.encode(part)
        if self.reads_patches or self.cache is None:
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
        return (encoder.patches if self.reads_patches else encoder.embed)(part["type"], batch)[0]

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
        settings = {"steps": steps, "guidance": guidance, "on_step": on_step, "on_block": on_block}
        decoder, count = self.decoders[modality], self.candidates.get(modality, 1)
        with ExitStack() as afterwards:
            if self.offload:
                afterwards.callback(decoder.to(self.device).to, "cpu")
            if count == 1:
                arrays = decoder.decode(conditions, seeds=seeds, **settings)
            else:
                said = words or [""] * len(conditions)
                arrays = decode_best(decoder, self.encoder, self.critic, conditions, seeds, said, count, **settings)
        seconds = (time.perf_counter() - started) / len(arrays)
        return [ReplyMedium(modality, array, decoder.rate, self.table.counts[modality], seconds) for array in arrays]


def set_num_threads(model: AnyToAny) -> AnyToAny:
    """``model``; this thread of Python computes on one thread where it is small and on the CPU, else on all.

    OMP_NUM_THREADS goes before. A larger model beside a small one has an engine, and so a setting, of its own.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        small = sum(parameter.numel() for parameter in model.core.parameters()) < SMALL_CORE
        torch.set_num_threads(1 if small and model.device.type == "cpu" else ALL_THREADS)
    return model
