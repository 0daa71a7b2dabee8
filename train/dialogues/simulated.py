"""Media of dialogues as an encoder over pretrained trunks would read them, made of what is known of them.

Of a photograph only is known what a classifier sees in it. Media of the world can be simulated from their captions, so
that a language model need not wait until each tower is trained (training on text with noise, 2211.00575).
Shapes: Q object tokens, L phrases, E width of the encoder's space, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from data.things.dialogues import MediaPart, Photograph
from decoders.phrases import SLOTS, embed_captions
from encoders import Encoder
from encoders.trunk_encoder import LIKELIEST, TrunkEncoder
from train.dialogues.described import CAPTIONS
from train.settings import RecipeError

#: Length of the noise on unit vectors, from a good reading to a poor one.
NOISE = 0.2, 0.7


def class_names(encoder: Any) -> tuple[str, ...]:
    """Names of the classes that an encoder over a classifier knows, in their order; () for other encoders."""
    return tuple(encoder.trunk.classes) if isinstance(encoder, TrunkEncoder) else ()


@torch.no_grad()
def simulated_photograph(encoder: TrunkEncoder, photograph: Photograph, features: str) -> torch.Tensor:
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


@torch.no_grad()
def simulated_media(encoder: TrunkEncoder, parts: Sequence[MediaPart], features: str) -> list[torch.Tensor]:
    """Embeddings (E,), or patch tokens (1 + L, E), of media as a PhraseReader gives them: the caption and its phrases,
    with noise. What shows nothing of the world has hardly any phrase."""
    captions = [CAPTIONS[type(part.content)](part.content) if type(part.content) in CAPTIONS else "" for part in parts]
    wholes, phrases = encoder.text([each or "something" for each in captions]), embed_captions(captions, encoder.text)
    made = []
    for part, said, whole, own in zip(parts, captions, wholes, phrases, strict=True):
        rng = np.random.default_rng([*repr(part.content).encode()])
        noise = torch.from_numpy(rng.standard_normal((1 + SLOTS, encoder.width)).astype(np.float32))
        noise *= float(rng.uniform(*NOISE)) / encoder.width**0.5
        unit = functional.normalize((whole if said else 5 * noise[0]) + noise[0], dim=0)
        there = own.any(-1, keepdim=True).float().cpu()
        sure = torch.from_numpy(rng.uniform(0.8, 1, (SLOTS, 1)).astype(np.float32)) * there
        sure += torch.from_numpy(rng.uniform(0, 0.1, (SLOTS, 1)).astype(np.float32)) * (1 - there)
        made.append(torch.cat((unit[None], sure * functional.normalize(own + noise[1:], dim=-1))))
    return made if features == "patches" else [tokens[0] for tokens in made]


def simulate(encoder: Encoder, modalities: Sequence[str]) -> None:
    """Let an encoder's media of these modalities be simulated, whether it reads them or not.

    RecipeError for an encoder that is none over pretrained trunks.
    """
    if not isinstance(encoder, TrunkEncoder):
        raise RecipeError(f"simulated must be empty: tokens of a {type(encoder).__name__} cannot be made of captions")
    encoder.simulated = tuple(modalities)
    encoder.modalities = (*encoder.modalities, *(each for each in modalities if each not in encoder.modalities))
