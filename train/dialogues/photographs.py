"""Photographs of dialogues: features that an encoder over a classifier would give where it sees such classes.

Shapes: Q object tokens, E width of the encoder's space, K classes.
"""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from data.things.dialogues import Photograph
from encoders.trunk_encoder import LIKELIEST, TrunkEncoder


def class_names(encoder: Any) -> tuple[str, ...]:
    """Names of the classes that an encoder over a classifier knows, in their order; () for other encoders."""
    return tuple(encoder.trunk.classes) if isinstance(encoder, TrunkEncoder) else ()


@torch.no_grad()
def simulated(encoder: TrunkEncoder, photograph: Photograph, features: str) -> torch.Tensor:
    """The embedding (E,), or the patch tokens (2 + Q, E), of a photograph in which the classifier sees these classes.

    The rest of the probability falls on classes drawn by the photograph's number.
    """
    rng = np.random.default_rng(photograph.number)
    numbers = [encoder.trunk.classes.index(name) for name, _ in photograph.classes]
    others = rng.choice(len(encoder.trunk.classes), LIKELIEST - len(numbers), replace=False)
    left = 1 - sum(probability for _, probability in photograph.classes)
    shares = left * rng.uniform(0.2, 0.6) * rng.dirichlet(np.full(len(others), 2.0))
    weights = torch.tensor([*(probability for _, probability in photograph.classes), *shares], dtype=torch.float32)
    seen = weights @ encoder.class_names[[*numbers, *others.tolist()]].float().cpu()  # (E,)
    embedding = functional.normalize(seen, dim=0)
    if features != "patches":
        return embedding
    objects = torch.zeros(encoder.config.image.objects, len(seen))  # it shows nothing of the world
    return torch.cat((embedding[None], float(rng.uniform(0.9, 1)) * seen[None], objects))
