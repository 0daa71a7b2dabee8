"""What the model did for a reply, as arrays: gates, attention to media, neighbours, signals, conditions.

    reply = model.chat(messages)
    seen = explain(model, messages, reply)
    seen.attention[:, 1:]  # how much each token of the reply attends to each medium

One more pass over the conversation and its reply is made, with an observer in every layer (adapters.attention). The
reply is read as it stands in the conversation. Shapes: T tokens of the sequence, R tokens of the reply, M media that
came in, H heads, L x C a decoder's condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from data.text_files import check_texts
from data.toybox import CARRIES, parse_reply, tag_caption
from nextgpt_lite.media_slots import MediaSlots, batch_media

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import AnyToAny, Reply


@dataclass(frozen=True)
class Neighbour:
    """A prototype of the visual cache that a medium was blended with; weights of a medium's neighbours sum to 1."""

    index: int
    similarity: float
    weight: float


@dataclass(frozen=True)
class MediumSeen:
    """A medium that came in: where its placeholders stand, and what the visual cache made of it."""

    modality: str
    positions: tuple[int, ...]
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class LayerGate:
    """tanh(gate) of each head (H,) of one layer's prompts; ``kind`` is "media" or "static"."""

    layer: int
    kind: str
    values: np.ndarray


@dataclass(frozen=True)
class Signal:
    """A signal token of the reply, and the probability that the model gave it."""

    name: str
    position: int
    probability: float


@dataclass(frozen=True)
class ConditionCheck:
    """What drove a decoder, (L, C), next to its text encoder's output for the caption; ``cosine`` (L,) position by
    position. Without a caption ``gold`` and ``cosine`` are None."""

    modality: str
    condition: np.ndarray
    caption: str | None
    gold: np.ndarray | None
    cosine: np.ndarray | None


@dataclass(frozen=True)
class Explanation:
    """How a reply came about.

    ``tokens`` (T) are pieces of text, the reply's from ``reply_start`` on. ``attention`` (R, 1 + M): of what each
    token of the reply was made, the share of the attention that went to text and to each medium's placeholders, mean
    over layers and heads at the position before it; rows sum to 1. ``prompt_share`` (T,): how much of what attention
    adds comes from the gated prompts, |prompts| / (|text| + |prompts|), mean over layers.
    """

    tokens: tuple[str, ...]
    reply_start: int
    media: tuple[MediumSeen, ...]
    gates: tuple[LayerGate, ...]
    attention: np.ndarray
    prompt_share: np.ndarray
    signals: tuple[Signal, ...]
    conditions: tuple[ConditionCheck, ...]


@torch.no_grad()
def explain(
    model: AnyToAny, messages: Sequence[dict[str, Any]], reply: Reply, captions: Sequence[str | None] | None = None
) -> Explanation:
    """How ``reply`` to ``messages`` came about.

    ``captions`` say what each medium of the reply should have been, None = what the reply's words say of it where they
    can be read (:func:`caption_of`). Raises ValueError unless there is one for each medium of the reply, and what
    ``model.chat`` raises for these messages.
    """
    modalities = [medium.modality for medium in reply.media]
    check_texts(captions)
    if captions is not None and len(captions) != len(modalities):
        raise ValueError(f"{len(captions)} captions for {len(modalities)} media of the reply: give one for each")
    prompt, parts, _ = model.encode_messages(messages)
    parts_said = reply.as_message()["content"]
    said = [token for part in parts_said for token in _ids_of(model, part)]
    ids = torch.tensor([[*prompt, *said]], device=model.device)
    start = len(prompt)
    places, hidden, record = _observed_pass(model, ids, [model.embed(part) for part in parts])
    columns = [_positions(places, number) for number in range(len(parts))]
    return Explanation(
        tokens=_pieces(model, ids[0].tolist()),
        reply_start=start,
        media=tuple(
            MediumSeen(part["type"], tuple(at), neighbours(model, part))
            for part, at in zip(parts, columns, strict=True)
        ),
        gates=gates(model),
        attention=record.shares(columns)[start - 1 : -1],
        prompt_share=record.prompt_share(),
        signals=_signals(model, ids[0], hidden[0], start),
        conditions=_conditions(model, ids, hidden, start, parts_said, captions),
    )


def gates(model: AnyToAny) -> tuple[LayerGate, ...]:
    """tanh(gate) of every layer that has prompts, in the order of the layers."""
    prompts = model.core.gated_prompts
    found = []
    for layer in range(prompts.layers):
        gates = [("static", prompts.static_gate_of(layer))] if prompts.has_static(layer) else []
        gates += [("media", prompts.media_gate_of(layer))] if prompts.has_media(layer) else []
        found += [LayerGate(layer, kind, gate.detach().float().cpu().numpy()) for kind, gate in gates]
    return tuple(found)


@torch.no_grad()
def neighbours(model: AnyToAny, part: dict[str, Any]) -> tuple[Neighbour, ...]:
    """The prototypes that a medium was blended with, nearest first; none without a cache or for a given embedding."""
    if model.core.config.reads_patches or part.get("embedding") is not None or model.cache is None:
        return ()
    return nearest(model, model.encode(part))


@torch.no_grad()
def nearest(model: AnyToAny, embedding: torch.Tensor) -> tuple[Neighbour, ...]:
    """The prototypes that the model's visual cache holds against a unit embedding (E,). None without a cache."""
    if model.cache is None:
        return ()
    similarities, indices, weights = model.cache.neighbours_of(embedding[None])
    rows = zip(indices[0].tolist(), similarities[0].tolist(), weights[0].tolist(), strict=True)
    return tuple(Neighbour(*row) for row in rows)


def caption_of(text: str, modality: str) -> str | None:
    """The decoder's caption of the medium that a reply's ``text`` mentions; None where it names no thing of Toybox."""
    said = parse_reply(text)
    if "thing" not in said:
        return None
    return tag_caption({name: said[name] for name in CARRIES[modality] if name in said})


def _ids_of(model: AnyToAny, part: dict[str, Any]) -> Sequence[int]:
    """A part of a reply as the model wrote it."""
    if part["type"] != "text":
        return model.table.spans[part["type"]]
    words = part["text"].strip()
    return model.tokenizer(words, add_special_tokens=False)["input_ids"] if words else []


def _observed_pass(
    model: AnyToAny, ids: torch.Tensor, media: Sequence[torch.Tensor]
) -> tuple[MediaSlots | None, torch.Tensor, AttentionRecord]:
    """Where the media stand, the last hidden states (1, T, D), and what every layer attended to."""
    batch, record = batch_media([list(media)]), AttentionRecord()
    places = model.core.find_media_slots(ids, batch.get("media_embeddings"), batch.get("media_mask"))
    output = model.core(ids, **batch, attention_observer=record.observe, use_cache=False, logits_to_keep=1)
    return places, output.last_hidden_state, record


def _positions(places: MediaSlots | None, number: int) -> list[int]:
    """The positions of the placeholders that read medium ``number`` of the only row."""
    assert places is not None
    mine = places.is_placeholder[0] & (places.token[0] // places.tokens_each == number)
    return mine.nonzero()[:, 0].tolist()


def _pieces(model: AnyToAny, ids: list[int]) -> tuple[str, ...]:
    """The text of each token. A character made of several tokens is the text of the last of them."""
    pieces, pending = [], []
    for token in ids:
        pending.append(token)
        text = str(model.tokenizer.decode(pending))
        if text.endswith("\ufffd"):
            pieces.append("")
            continue
        pieces.append(text)
        pending = []
    return tuple(pieces)


def _signals(model: AnyToAny, ids: torch.Tensor, hidden: torch.Tensor, start: int) -> tuple[Signal, ...]:
    """Signal tokens from ``start`` on; each was predicted at the position before its own."""
    at = (ids[start:] >= model.table.first_signal).nonzero()[:, 0] + start
    chances = model.core.logits(hidden[at - 1]).float().softmax(-1).gather(1, ids[at][:, None])[:, 0]
    names = model.tokenizer.convert_ids_to_tokens(ids[at].tolist())
    return tuple(Signal(*row) for row in zip(names, at.tolist(), chances.tolist(), strict=True))


def _conditions(
    model: AnyToAny,
    ids: torch.Tensor,
    hidden: torch.Tensor,
    start: int,
    parts: Sequence[dict[str, Any]],
    captions: Sequence[str | None] | None,
) -> tuple[ConditionCheck, ...]:
    own, states, before = ids[:, start:], hidden[:, start:], ids[0, :start].tolist()
    modalities = [part["type"] for part in parts if part["type"] != "text"]
    conditions = model.core.conditions
    made = {name: list(conditions(own, states, name, before)) for name in dict.fromkeys(modalities)}
    given, words, checks = iter(captions or [None] * len(modalities)), "", []
    for part in parts:
        if part["type"] == "text":
            words = part["text"]
            continue
        caption = next(given) or caption_of(words, part["type"])
        checks.append(_checked(model, part["type"], made[part["type"]].pop(0), caption))
    return tuple(checks)


def _checked(model: AnyToAny, modality: str, condition: torch.Tensor, caption: str | None) -> ConditionCheck:
    condition = condition.float()
    if caption is None:
        return ConditionCheck(modality, condition.cpu().numpy(), None, None, None)
    gold = model.decoders[modality].encode_caption([caption])[0].to(condition)  # (L, C)
    cosine = functional.cosine_similarity(condition, gold, dim=-1)
    return ConditionCheck(modality, condition.cpu().numpy(), caption, gold.cpu().numpy(), cosine.cpu().numpy())


class AttentionRecord:
    """Attention weights (T, S) of one row, mean over heads, and sizes of the two terms, layer by layer.

    ``weights`` and ``text_size``, ``prompt_size`` (T,) have one entry a layer; the prompt's size is zero where a layer
    has none.
    """

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.text_size: list[torch.Tensor] = []
        self.prompt_size: list[torch.Tensor] = []

    def observe(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        scaling: float,
        mask: torch.Tensor | None,
        text: torch.Tensor,
        prompt: torch.Tensor | None,
    ) -> None:
        """One layer: query (1, H, T, width), key (1, KV heads, T, width), both terms (1, T, H, width)."""
        self.weights.append(_weights(query, key, scaling, mask).mean(1)[0])
        self.text_size.append(_size(text))
        self.prompt_size.append(_size(text).new_zeros(text.shape[1]) if prompt is None else _size(prompt))

    def shares(self, columns: Sequence[Sequence[int]]) -> np.ndarray:
        """Attention (T, 1 + M) of each position to everything else and to each of M groups of positions."""
        weights = torch.stack(self.weights).mean(0)  # (T, S)
        groups = [weights[:, list(positions)].sum(1) for positions in columns]
        rest = weights.sum(1) - sum(groups) if groups else weights.sum(1)
        return torch.stack([rest, *groups], dim=1).cpu().numpy()

    def prompt_share(self) -> np.ndarray:
        """|prompts| / (|text| + |prompts|) at each position (T,), mean over layers."""
        text, prompt = torch.stack(self.text_size), torch.stack(self.prompt_size)
        return (prompt / (text + prompt).clamp_min(1e-12)).mean(0).cpu().numpy()


def _weights(query: torch.Tensor, key: torch.Tensor, scaling: float, mask: torch.Tensor | None) -> torch.Tensor:
    """Causal attention weights (B, H, T, S) in float32; ``mask`` is boolean or additive, None = causal alone."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = (query.float() @ key.float().transpose(2, 3)) * scaling
    if mask is None:
        length = query.shape[2]
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def _size(term: torch.Tensor) -> torch.Tensor:
    """Length (T,) of what a term (1, T, H, width) adds at each position."""
    return term[0].float().flatten(1).norm(dim=-1)
