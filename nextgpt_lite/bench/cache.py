"""The visual cache at 300,000 x 1024: exact and both compressed kinds.

    nextgpt-lite bench cache

Prototypes are synthetic: clusters whose members differ along a few directions and a little along all, as image
embeddings do. Truth is a float32 search over the vectors as they were drawn. Shapes: N prototypes, E width.
"""

import time

import torch
import torch.nn.functional as F

from adapters.visual_cache import KINDS, VisualCache

EXPECTED_RECALL = {"exact": 0.95, "ivf_sq8": 0.95, "ivf_rabitq": 0.90}
CLUSTER_ROWS, DIRECTIONS, BLOCK = 150, 48, 16384


def run(rows: int = 300_000, width: int = 1024, queries: int = 64, neighbours: int = 32) -> dict:
    """Recall among the nearest ``neighbours``, milliseconds a query (one at a time), seconds to build, bytes, by kind.

    ``resident_mib`` must be in memory; ``file_mib`` is what is stored, of which a compressed cache maps the prototypes
    and touches only those that it compares.
    """
    world = SyntheticWorld(rows, width)
    prototypes = torch.empty(rows, width, dtype=torch.float16)
    asked = world.draw(queries, seed=-1)
    similarities = torch.empty(queries, rows)
    for start in range(0, rows, BLOCK):
        block = world.draw(min(BLOCK, rows - start), seed=start)
        prototypes[start : start + len(block)] = block.half()
        similarities[:, start : start + len(block)] = asked @ block.T
    truth = similarities.topk(min(neighbours, rows), dim=1).indices
    results = {kind: of_kind(kind, prototypes, asked, truth) for kind in KINDS}
    return {"rows": rows, "width": width, "neighbours": neighbours, "threads": torch.get_num_threads(), **results}


class SyntheticWorld:
    """Unit vectors around cluster centres."""

    def __init__(self, rows: int, width: int) -> None:
        generator = torch.Generator().manual_seed(0)
        count = max(1, rows // CLUSTER_ROWS)
        self.width = width
        self.centres = F.normalize(torch.randn(count, width, generator=generator), dim=-1)
        self.directions = F.normalize(torch.randn(DIRECTIONS, width, generator=generator), dim=-1)

    def draw(self, count: int, seed: int) -> torch.Tensor:
        """(count, E), the same for the same seed."""
        generator = torch.Generator().manual_seed(seed + 1)
        chosen = self.centres[torch.randint(len(self.centres), (count,), generator=generator)]
        along = torch.randn(count, DIRECTIONS, generator=generator) @ self.directions / DIRECTIONS**0.5
        around = torch.randn(count, self.width, generator=generator) / self.width**0.5
        return F.normalize(chosen + 0.7 * along + 0.3 * around, dim=-1)


def of_kind(kind: str, prototypes: torch.Tensor, asked: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    started = time.perf_counter()
    cache = VisualCache(prototypes, truth.shape[1], kind=kind)
    built = time.perf_counter() - started
    cache.search(asked[:1])
    started = time.perf_counter()
    found = torch.cat([cache.search(query[None])[1] for query in asked])
    seconds = time.perf_counter() - started
    hits = (found[:, :, None] == truth[:, None]).any(2).float().mean()
    index_bytes = 0 if cache.index is None else cache.index.to_bytes().numel()
    stored = 2 * prototypes.numel() + index_bytes
    resident = 4 * prototypes.numel() if cache.index is None else index_bytes
    return {
        "recall": float(hits),
        "expected_recall": EXPECTED_RECALL[kind],
        "milliseconds": 1000 * seconds / len(asked),
        "build_seconds": built,
        "resident_mib": resident / 2**20,
        "file_mib": stored / 2**20,
    }
