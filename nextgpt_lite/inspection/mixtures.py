"""Several media as one (2309.03905, Fig. 7): embedding arithmetic in a conversation, images of mixtures, weighted sums.

Shapes: E embedding width, B images, N media.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from adapters.imagebind_llm import image_embedding, mix
from adapters.visual_cache import VisualCache
from data.modalities import MODALITIES
from encoders.media_encoder import MediaEncoder
from nextgpt_lite.inspection.explain import Neighbour, nearest

if TYPE_CHECKING:
    from decoders.image import UnclipDecoder
    from nextgpt_lite.any_to_any import AnyToAny

Part = dict[str, Any]


@torch.no_grad()
def mixture(model: AnyToAny, parts: Sequence[Part], weights: Sequence[float] | None = None) -> Part:
    """One content part, to be used in messages as a medium is, that means all of ``parts`` at once.

    ``parts`` are ``{"type": "image" | ..., "array", "rate"}`` or ``{"type": "text", "text"}``; the first must be a
    medium. ``weights`` default to equal ones. The visual cache, where the model has one, sees the mixture.
    """
    if not parts or parts[0]["type"] == "text":
        raise ValueError("a mixture begins with a medium: its placeholder stands for the whole")
    if model.core.config.reads_patches:
        raise ValueError("a mixture is one unit embedding, and this model's core reads patches")
    units = [_encode(model.encoder, part, project=False) for part in parts]
    mixed = mix(units, [1.0] * len(parts) if weights is None else weights)  # (1, E)
    return {"type": parts[0]["type"], "embedding": (mixed if model.cache is None else model.cache(mixed))[0]}


@torch.no_grad()
def draw(
    encoder: MediaEncoder,
    decoder: UnclipDecoder,
    parts: Sequence[Part],
    weights: Sequence[float] | None = None,
    *,
    cache: VisualCache | None = None,
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    guidance: float | None = None,
) -> list[np.ndarray]:
    """Images, uint8 (H, W, 3), one a seed, of a mixture of media and texts: ImageBind-LLM's image output.

    Raises ValueError where the decoder was not trained on embeddings of the encoder's width.
    """
    expected = decoder.condition_shape[1]
    if encoder.width != expected:
        raise ValueError(f"the encoder's embeddings are {encoder.width} wide, the unCLIP decoder takes {expected}")
    projections = [_encode(encoder, part, project=True) for part in parts]
    shares = [1.0] * len(parts) if weights is None else weights
    embedding = image_embedding([part["type"] for part in parts], projections, shares, cache)  # (1, E)
    conditions = embedding[:, None].expand(len(seeds), -1, -1)
    return decoder.decode(conditions, seeds=seeds, steps=steps, guidance=guidance)


def _encode(encoder: MediaEncoder, part: Part, project: bool) -> torch.Tensor:
    """(1, E) of one part: at unit length, or as the head projects it."""
    if part["type"] == "text":
        return encoder.project_text([part["text"]]) if project else encoder.embed_text([part["text"]])
    tensor = encoder.preprocess(part["type"], np.asarray(part["array"]), part.get("rate"))[None].to(encoder.device)
    return encoder.project(part["type"], tensor) if project else encoder.embed(part["type"], tensor)


@dataclass(frozen=True)
class Sum:
    """A weighted sum of media.

    ``part`` stands for it in messages, ``embedding`` (E,) is its direction before the visual cache, ``likeness`` its
    cosine with each of the N media, ``neighbours`` are the cache's prototypes nearest to it (none without a cache).
    """

    part: Part
    embedding: torch.Tensor
    likeness: tuple[float, ...]
    neighbours: tuple[Neighbour, ...]

    def messages(self, modality: str) -> list[dict[str, Any]]:
        """What to ask the model for a medium of ``modality`` made of the sum."""
        requests = {name: entry.request for name, entry in MODALITIES.items() if entry.request}
        if modality not in requests:
            raise ValueError(f"unsupported output modality {modality!r}: expected one of {', '.join(requests)}")
        return [{"role": "user", "content": [self.part, {"type": "text", "text": requests[modality]}]}]


@torch.no_grad()
def add(model: AnyToAny, parts: Sequence[Part], weights: Sequence[float]) -> Sum:
    """The sum of media, each with its weight. ValueError unless the weights' sum is positive, or without media.

    The first medium that counts positively gives the placeholder that the sum stands behind.
    """
    if len(parts) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(parts)} media: give one for each")
    summands = sorted(((p, w) for p, w in zip(parts, weights, strict=True) if w), key=lambda each: each[1] <= 0)
    part = mixture(model, [part for part, _ in summands], [weight for _, weight in summands])
    units = torch.stack([model.encode(part) for part in parts])  # (N, E)
    mixed = functional.normalize(units.new_tensor(list(weights)) @ units, dim=0)
    return Sum(part, mixed, tuple((units @ mixed).tolist()), nearest(model, mixed))
