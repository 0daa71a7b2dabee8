"""Compressed indices over image prototypes, for visual caches that are too large to compare with one by one.

faiss does the work. Both kinds cut the space into cells (IVF) and search the nearest of them. ``ivf_sq8`` keeps one
byte a coordinate; ``ivf_rabitq`` keeps one bit (2405.12497), so that its best candidates must be compared again by
the prototypes themselves. Shapes: N prototypes, E their width, B queries, k neighbours.
"""

from __future__ import annotations

import numpy as np
import torch

#: Kind -> how many candidates are fetched for each neighbour that is wanted.
CANDIDATES = {"ivf_sq8": 1, "ivf_rabitq": 10}
CELL_ROWS, MOST_CELLS, CELLS_SEARCHED = 256, 4096, 160
#: Prototypes handled at once while a cache is built: float32 copies of all of them would not fit.
BLOCK = 16384


class PrototypeIndex:
    """A faiss index over unit vectors; finds candidates by inner product."""

    def __init__(self, kind: str, index) -> None:
        self.kind, self.index = kind, index

    @classmethod
    def build(cls, kind: str, prototypes: torch.Tensor) -> PrototypeIndex:
        """Train and fill an index with unit prototypes (N, E) of any float type. Deterministic on one thread."""
        import faiss  # here: only who has a compressed cache needs it

        if kind not in CANDIDATES:
            raise ValueError(f"unknown kind of index {kind!r}: expected {' or '.join(CANDIDATES)}")
        count, width = prototypes.shape
        cells = max(1, min(MOST_CELLS, count // CELL_ROWS))
        # RaBitQ's bits are fair only after a random rotation; for unit vectors it changes no inner product.
        form = f"IVF{cells},SQ8" if kind == "ivf_sq8" else f"RR{width},IVF{cells},RaBitQ"
        index = faiss.index_factory(width, form, faiss.METRIC_INNER_PRODUCT)
        inverted = faiss.extract_index_ivf(index)
        inverted.cp.niter, inverted.cp.max_points_per_centroid = 10, 64
        inverted.nprobe = min(cells, CELLS_SEARCHED)
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: 64 * cells + CELL_ROWS]
        index.train(prototypes[chosen.sort().values].float().numpy())
        for start in range(0, count, BLOCK):
            index.add(prototypes[start : start + BLOCK].float().numpy())
        return cls(kind, index)

    def candidates(self, queries: torch.Tensor, neighbours: int) -> torch.Tensor:
        """Indices (B, candidates) for queries (B, E); -1 where the searched cells hold fewer."""
        wanted = min(CANDIDATES[self.kind] * neighbours, self.index.ntotal)
        _, found = self.index.search(queries.float().cpu().contiguous().numpy(), wanted)
        return torch.from_numpy(found).to(queries.device)

    def to_bytes(self) -> torch.Tensor:
        """The index as uint8 (bytes,)."""
        import faiss

        return torch.from_numpy(faiss.serialize_index(self.index))

    @classmethod
    def from_bytes(cls, kind: str, data: torch.Tensor) -> PrototypeIndex:
        """The inverse of :meth:`to_bytes`. ValueError where the bytes are no index."""
        import faiss

        try:
            return cls(kind, faiss.deserialize_index(np.ascontiguousarray(data.numpy())))
        except RuntimeError as error:
            raise ValueError(f"the index of the visual cache is damaged: {error}") from error
