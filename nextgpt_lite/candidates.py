"""Of several candidates for a medium, the one that shows what the reply says and that the others agree with.

A decoder's sample that went wrong goes wrong in a way of its own; those that are right show the same thing. So a
candidate gains by how near its embedding lies to all others: minimum Bayes risk with the cosine as gain, as machine
translation chooses among its samples (2108.04718). Where most go wrong alike, agreement misleads. So a candidate gains
also by how near it lies to the reply's own words, in the space that ImageBind has for media and text alike
(2305.05665, Sec. 3): CLIP's reranking of generated images (2102.12092, Sec. 2.6). The encoder was trained on real
media and can be wrong about degraded ones; where the model has a critic, which was trained on degraded images too, an
image or a video gains by how probable the critic holds what the words name (a verifier that chooses among samples:
2110.14168).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

if TYPE_CHECKING:  # decoders take seconds to import, and text needs none
    from decoders import Decoder
    from decoders.image_critic import ImageCritic
    from encoders import Encoder

#: Between the seeds of a medium's candidates; the first candidate has the seed of the medium itself.
SEED_STEP = 1_000_003
#: What nearness to the words counts beside the mean nearness to all candidates.
WORDS_WEIGHT = 2.0
#: What a nat of the critic's log-probability counts beside these.
CRITIC_WEIGHT = 0.4
#: Readings of the words that are compared, the whole sentence first.
MAX_READINGS = 4


def candidate_seeds(seed: int, count: int) -> list[int]:
    """Seeds of ``count`` candidates."""
    return [seed + SEED_STEP * number for number in range(count)]


def decode_best(
    decoder: Decoder,
    encoder: Encoder,
    critic: ImageCritic | None,
    conditions: torch.Tensor,
    seeds: Sequence[int],
    words: Sequence[str],
    count: int,
    **settings: Any,
) -> list[np.ndarray]:
    """The best of ``count`` candidates for each condition (B, L, C), by what the reply says of it.

    ``settings`` are those of :meth:`decoders.base.Decoder.decode`.
    """
    all_seeds = [one for seed in seeds for one in candidate_seeds(seed, count)]
    decoded = decoder.decode(conditions.repeat_interleave(count, dim=0), seeds=all_seeds, **settings)
    groups = [decoded[start : start + count] for start in range(0, len(decoded), count)]
    return [
        group[best_of(encoder, decoder.modality, group, decoder.rate, own, critic)]
        for group, own in zip(groups, words, strict=True)
    ]


@torch.no_grad()
def best_of(
    encoder: Encoder,
    modality: str,
    candidates: list[np.ndarray],
    rate: float | None,
    words: str = "",
    critic: ImageCritic | None = None,
) -> int:
    """The number of the candidate that is most like the others and, where there are words, like those.

    The first of equals. Encoders without a text tower compare candidates only. The ``critic`` reads images and videos.
    """
    batch = torch.stack([encoder.preprocess(modality, array, rate) for array in candidates]).to(encoder.device)
    units = F.normalize(encoder.embed(modality, batch).float(), dim=-1)  # (candidates, E)
    gain = (units @ units.T).mean(dim=1)
    texts = readings(words) if encoder.reads_text else []
    if texts:
        nearness = units @ encoder.embed_text(texts).T  # (candidates, readings)
        gain = gain + WORDS_WEIGHT * nearness[:, nearness.mean(dim=0).argmax()]
    if len(candidates) < 3 and not texts and (critic is None or not critic.named(words)):
        return 0  # two are as like each other either way
    if critic is not None and modality in ("image", "video"):
        gain = gain + CRITIC_WEIGHT * critic.fit(candidates, words).to(encoder.device)
    return int(gain.argmax())


def readings(words: str) -> list[str]:
    """A sentence, and what is left of it without its first word, its first two and so on.

    Replies begin with words that say nothing of the medium ("Here is", "Watch:"), which blur their embedding. Which
    words those are depends on the language; the reading that is nearest to the candidates as a whole tells. None begins
    behind a comma: what is left there no longer names the thing.
    """
    sentence = words.strip(" \n.!。！")
    [clause] = re.split(r"[,，]", sentence, maxsplit=1)[:1]
    starts = [0, *(gap.end() for gap in re.finditer(r"[\s:：]+", clause))]
    return [sentence[start:] for start in starts if sentence[start:]][:MAX_READINGS]
