"""What an encoder's embeddings carry, measured by one linear classifier for each attribute.

Shapes: N media, E width of the embeddings, A attributes.
"""

import numpy as np
import torch
import torch.nn.functional as F

from encoders import MediaEncoder
from train.foundations.encoder.phrases import UNKNOWN, Attributes, ContrastPhrases, from_storage, pool

FIT_COUNT = 4000
BATCH = 64


@torch.no_grad()
def embed_stored(encoder: MediaEncoder, modality: str, stored: np.ndarray) -> torch.Tensor:
    """Unit vectors (N, E) of stored media."""
    parts = torch.from_numpy(np.ascontiguousarray(stored)).split(BATCH)
    return torch.cat([encoder.embed(modality, from_storage(modality, part, encoder)) for part in parts])


def fit_probe(embedded: torch.Tensor, codes: torch.Tensor, classes: int) -> torch.nn.Linear:
    """Multinomial logistic regression on unit vectors (N, E) -> classes."""
    probe = torch.nn.Linear(embedded.shape[1], classes)
    optimiser = torch.optim.LBFGS(probe.parameters(), lr=1.0, max_iter=80, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        decay = 1e-6 * probe.weight.square().sum()
        loss = F.cross_entropy(probe(embedded), codes) + decay
        loss.backward()
        return loss

    optimiser.step(closure)
    return probe


def probe_encoder(
    encoder: MediaEncoder, words: ContrastPhrases, pools: dict, count: int, cache_dir: str
) -> dict[str, float]:
    """Shares right, by "modality.attribute", on media that training never saw: in Toybox new scenes of all pairs,
    held-out pairs, media out of distribution; of a manifest what is held out. Nothing where no attributes are known.

    The probes are fitted to the first 4,000 media of the training pools, and scored on ``count`` media of each kind.
    """
    if not words.attributes:
        return {}
    was_training = encoder.training
    encoder.eval()
    figures = {}
    for modality, (stored, codes) in pools.items():
        embedded, codes = embed_stored(encoder, modality, stored[:FIT_COUNT]), torch.from_numpy(codes[:FIT_COUNT])
        probes = {}
        for column, values in enumerate(words.attributes.values()):
            shown = codes[:, column] >= 0
            if shown.any():
                probes[column] = fit_probe(embedded[shown], codes[shown, column], len(values))
        for name, stream in words.tests(modality, count).items():
            test, test_codes = pool(stream, encoder, cache_dir)
            embedded = embed_stored(encoder, modality, test)
            scores = _score(probes, embedded, torch.from_numpy(test_codes), words.attributes)
            figures |= {f"{name}.{figure}": round(value, 4) for figure, value in scores.items()}
    encoder.train(was_training)
    return figures


@torch.no_grad()
def _score(
    probes: dict[int, torch.nn.Linear], embedded: torch.Tensor, codes: torch.Tensor, attributes: Attributes
) -> dict[str, float]:
    names, first = list(attributes), next(iter(attributes.values()))
    right = {column: (probe(embedded).argmax(-1) == codes[:, column]).float() for column, probe in probes.items()}
    if first[-1] == UNKNOWN and (codes[:, 0] == len(first) - 1).all():
        return {"declined": right[0].mean().item()}
    return {names[column]: hits.mean().item() for column, hits in right.items()}
