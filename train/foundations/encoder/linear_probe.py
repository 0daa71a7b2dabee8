"""What an encoder's embeddings carry, measured by one linear classifier an attribute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from encoders import MediaEncoder
from train.foundations.encoder.media_pools import ATTRIBUTES, from_storage, pool
from train.foundations.encoder.phrases import ContrastWords

FIT_COUNT = 4000
UNKNOWN_CODE = len(ATTRIBUTES["thing"]) - 1
BATCH = 64


@torch.no_grad()
def embed_stored(encoder: MediaEncoder, modality: str, stored: np.ndarray) -> torch.Tensor:
    """Unit vectors (count, E) of stored media."""
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
    encoder: MediaEncoder, words: ContrastWords, pools: dict, count: int, cache_dir: str | Path
) -> dict[str, float]:
    """Shares right, by "modality.attribute", on media that training never saw: in Toybox fresh scenes of all pairs,
    held-out pairs, outsiders; of a manifest what is held out. Nothing where no attributes are known.

    The probes are fitted to the first 4,000 media of the training pools, and scored on ``count`` media of each kind.
    """
    if not words.attributes:
        return {}
    names = list(words.attributes)
    was_training = encoder.training
    encoder.eval()
    figures = {}
    for modality, (stored, codes) in pools.items():
        embedded = embed_stored(encoder, modality, stored[:FIT_COUNT])
        probes = _probes(embedded, torch.from_numpy(codes[:FIT_COUNT]), words.attributes)
        for name, stream in words.tests(modality, count).items():
            test, test_codes = pool(stream, encoder, cache_dir)
            found = _score(probes, embed_stored(encoder, modality, test), torch.from_numpy(test_codes), names)
            figures |= {f"{name}.{figure}": value for figure, value in found.items()}
    encoder.train(was_training)
    return {name: round(value, 4) for name, value in figures.items()}


def _probes(embedded: torch.Tensor, codes: torch.Tensor, attributes: dict[str, tuple]) -> dict[int, torch.nn.Linear]:
    probes = {}
    for column, values in enumerate(attributes.values()):
        shown = codes[:, column] >= 0
        if shown.any():
            probes[column] = fit_probe(embedded[shown], codes[shown, column], len(values))
    return probes


@torch.no_grad()
def _score(probes: dict, embedded: torch.Tensor, codes: torch.Tensor, names: list[str]) -> dict[str, float]:
    if names == list(ATTRIBUTES) and (codes[:, 0] == UNKNOWN_CODE).all():
        return {"declined": (probes[0](embedded).argmax(-1) == UNKNOWN_CODE).float().mean().item()}
    return {
        names[column]: (probe(embedded).argmax(-1) == codes[:, column]).float().mean().item()
        for column, probe in probes.items()
    }
