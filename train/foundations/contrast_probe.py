"""What an encoder's embeddings carry, measured by one linear classifier an attribute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from encoders import MediaEncoder
from train.foundations.contrast_pools import ATTRIBUTES, Stream, from_storage, pool

PROBE_SEED = 977  # of scenes that no training uses
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


def probe_encoder(encoder: MediaEncoder, pools: dict, count: int, cache_dir: str | Path) -> dict[str, float]:
    """Shares right, by "modality.attribute": fresh scenes of all pairs, held-out pairs, outsiders.

    The probes are fitted to the first 4,000 media of the training pools, and scored on ``count`` media of each kind.
    """
    was_training = encoder.training
    encoder.eval()
    figures = {}
    for modality, (stored, codes) in pools.items():
        embedded = embed_stored(encoder, modality, stored[:FIT_COUNT])
        probes = _probes(embedded, torch.from_numpy(codes[:FIT_COUNT]))
        for name, stream in _test_streams(modality, count).items():
            test, test_codes = pool(stream, encoder, cache_dir)
            figures |= _score(probes, embed_stored(encoder, modality, test), torch.from_numpy(test_codes), name)
    encoder.train(was_training)
    return {name: round(value, 4) for name, value in figures.items()}


def _test_streams(modality: str, count: int) -> dict[str, Stream]:
    return {
        modality: Stream(modality, PROBE_SEED, count, "all"),
        f"{modality}.held_out_pairs": Stream(modality, PROBE_SEED, count // 2, "held_out"),
        f"{modality}.outsiders": Stream(modality, PROBE_SEED, count // 2, "all", outsider_every=1),
    }


def _probes(embedded: torch.Tensor, codes: torch.Tensor) -> dict[int, torch.nn.Linear]:
    probes = {}
    for column, values in enumerate(ATTRIBUTES.values()):
        shown = codes[:, column] >= 0
        if shown.any():
            probes[column] = fit_probe(embedded[shown], codes[shown, column], len(values))
    return probes


@torch.no_grad()
def _score(probes: dict, embedded: torch.Tensor, codes: torch.Tensor, name: str) -> dict[str, float]:
    names = list(ATTRIBUTES)
    if (codes[:, 0] == UNKNOWN_CODE).all():
        return {f"{name}.declined": (probes[0](embedded).argmax(-1) == UNKNOWN_CODE).float().mean().item()}
    return {
        f"{name}.{names[column]}": (probe(embedded).argmax(-1) == codes[:, column]).float().mean().item()
        for column, probe in probes.items()
    }
