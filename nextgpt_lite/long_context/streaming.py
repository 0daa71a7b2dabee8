"""Long rows: endless generation in constant memory, with attention sinks; losses and passkeys at the end of a row."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from adapters.attention_sinks import StreamingCache
from adapters.long_context import context_length
from data.passkey import PasskeyDocument


def streaming_cache(model: PreTrainedModel, sinks: int = 4, window: int = 1020) -> StreamingCache:
    """A cache for ``model`` (a causal LM or the core).

    ValueError where its positions are not rotary on halves, the same in all layers, and where sinks and window hold
    more tokens than it has positions.
    """
    language_model = getattr(model, "language_model", model)
    decoder, config = language_model.get_decoder(), language_model.config
    rotary = getattr(decoder, "rotary_emb", None)
    if rotary is None or not isinstance(getattr(rotary, "rope_type", "default"), str):
        raise ValueError(f"a {config.model_type!r} model cannot stream: expected one rotary embedding for all layers")
    known = config.max_position_embeddings if rotary.rope_type == "dynamic" else context_length(config)
    known = min(known, getattr(config, "sliding_window", None) or known)
    if sinks + window > known:
        raise ValueError(f"{sinks} sinks and a window of {window} exceed the {known} positions that the model sees")
    return StreamingCache(rotary, sinks, window)


@torch.no_grad()
def stream_tokens(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    cache: StreamingCache,
    *,
    chunk: int = 64,
    end: int | None = None,
    **inputs,
) -> Iterator[torch.Tensor]:
    """Greedy ids (B,), one a step and without end, after a prompt (B, T) of any length; rows are of equal length.

    The prompt is read ``chunk`` tokens at a time. Call again with the same cache and further ids to go on; the ids
    that were yielded are in it, but for the last. ``end`` stops when all rows have it. ``inputs`` go to the model's
    forward pass.
    """
    while True:
        for piece in input_ids.split(min(chunk, cache.window), dim=1):
            cache.make_room(piece.shape[1])
            logits = model(input_ids=piece, past_key_values=cache, use_cache=True, **inputs).logits
        chosen = logits[:, -1].argmax(-1)
        yield chosen
        if end is not None and bool((chosen == end).all()):
            return
        input_ids = chosen[:, None]


def stream(model: PreTrainedModel, input_ids: torch.Tensor, count: int, sinks: int = 4, window: int = 1020):
    """``count`` greedy ids (B, count) after a prompt (B, T)."""
    steps = stream_tokens(model, input_ids, streaming_cache(model, sinks, window))
    return torch.stack(list(islice(steps, count)), dim=1)


@torch.no_grad()
def final_losses(model: PreTrainedModel, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Cross-entropy (count,) of the last ``count`` tokens of the row ``ids`` (T,), each read after all before it."""
    logits = model(ids[None].to(model.device), use_cache=False, logits_to_keep=count + 1).logits[0, :-1]
    return functional.cross_entropy(logits.float(), ids[-count:].to(logits.device), reduction="none").cpu()


@torch.no_grad()
def tells_passkey(model: PreTrainedModel, document: PasskeyDocument) -> bool:
    """Whether greedy decoding gives the document's answer, key and full stop.

    It does if and only if each token of the answer is the most probable one after those before it: one pass suffices.
    """
    ids = torch.tensor(document.ids)
    count = len(ids) - document.answer_start
    logits = model(ids[None].to(model.device), use_cache=False, logits_to_keep=count + 1).logits[0, :-1]
    return bool((logits.argmax(-1).cpu() == ids[-count:]).all())
