"""The visual cache: training-free retrieval at inference (2309.03905, Sec. 3.2.3), exact or compressed.

Shapes: N prototypes, E their width, B queries, k neighbours.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from data.atomic import atomic_file

#: Kind -> how many candidates are fetched for each neighbour that is wanted.
CANDIDATES = {"ivf_sq8": 1, "ivf_rabitq": 10}
CELL_ROWS, MOST_CELLS, CELLS_SEARCHED = 256, 4096, 160
#: Prototypes handled at once while a cache is built: float32 copies of all of them would not fit.
BLOCK = 16384
#: "exact" compares with every prototype; the others are the kinds of :class:`PrototypeIndex`.
KINDS = ("exact", *CANDIDATES)
FILE = "prototypes.safetensors"
SETTINGS = ("neighbours", "temperature", "blend")


class PrototypeIndex:
    """A faiss index over unit vectors, for caches too large to compare one by one; finds candidates by inner product.

    Both kinds cut the space into cells (IVF) and search the nearest of them. ``ivf_sq8`` keeps one byte a coordinate;
    ``ivf_rabitq`` keeps one bit (2405.12497), so that its best candidates must be compared again by the prototypes
    themselves.
    """

    def __init__(self, kind: str, index) -> None:
        self.kind, self.index = kind, index

    @classmethod
    def build(cls, kind: str, prototypes: torch.Tensor) -> Self:
        """Train and fill an index with unit prototypes (N, E) of any float type. Deterministic on one thread."""
        import faiss  # here: only who has a compressed cache needs it

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
    def from_bytes(cls, kind: str, data: torch.Tensor) -> Self:
        """The inverse of :meth:`to_bytes`. ValueError where the bytes are no index."""
        import faiss

        try:
            return cls(kind, faiss.deserialize_index(np.ascontiguousarray(data.numpy())))
        except RuntimeError as error:
            raise ValueError(f"the index of the visual cache is damaged: {error}") from error


class VisualCache(nn.Module):
    """Blends an embedding with its nearest image prototypes.

    r = norm(softmax(T * top-k similarities) @ prototypes);  f' = norm((1 - blend) f + blend r).
    The paper: k = 10, T = 20, blend 0.5, three million prototypes. ``kind`` "exact" keeps float32 prototypes where the
    module is; "ivf_sq8" and "ivf_rabitq" keep them in float16 on the CPU, mapped from their file once loaded, beside
    an index of 1 byte or 1 bit a coordinate, and compare what the index finds by the prototypes themselves.
    """

    prototypes: torch.Tensor

    def __init__(
        self,
        prototypes: torch.Tensor,
        neighbours: int = 10,
        temperature: float = 20.0,
        blend: float = 0.5,
        kind: str = "exact",
        index: PrototypeIndex | None = None,
        source: str | None = None,
    ):
        """``prototypes`` (N, E) of any length; ``index`` only for a cache whose index is there already.

        ``source`` says what they are of, where that can be shown again (nextgpt_lite.inspection.examples).
        """
        super().__init__()
        self.source = source
        if prototypes.ndim != 2 or len(prototypes) == 0:
            raise ValueError(f"prototypes must have shape (N, D), not {tuple(prototypes.shape)}")
        if not 0.0 <= blend <= 1.0:
            raise ValueError(f"blend must lie in 0..1, not {blend}")
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, not {neighbours}")
        if kind not in KINDS:
            raise ValueError(f"unknown kind of visual cache {kind!r}: expected one of {', '.join(KINDS)}")
        if index is None and not all(block.isfinite().all() for block in prototypes.split(BLOCK)):
            raise ValueError("prototypes must be finite")
        self.kind, self.index = kind, index
        self.neighbours, self.temperature, self.blend = min(neighbours, len(prototypes)), temperature, blend
        if kind == "exact":
            self.register_buffer("prototypes", functional.normalize(prototypes.float(), dim=-1), persistent=False)
        elif index is None:
            units = [functional.normalize(block.float(), dim=-1).half().cpu() for block in prototypes.split(BLOCK)]
            self.prototypes = torch.cat(units)
            self.index = PrototypeIndex.build(kind, self.prototypes)
        else:
            self.prototypes = prototypes

    def search(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarities and indices (B, k) of the nearest prototypes of embeddings (B, E).

        A compressed cache may find fewer than k: then similarities are -inf and indices 0 at the end.
        """
        if self.index is None:
            return (embedding @ self.prototypes.T).topk(self.neighbours, dim=-1)
        found = self.index.candidates(embedding, self.neighbours)  # (B, candidates)
        rows = self._rows(found.clamp_min(0), embedding)  # (B, candidates, E)
        similarities = torch.einsum("bcd,bd->bc", rows, embedding).masked_fill(found < 0, float("-inf"))
        best, places = similarities.topk(self.neighbours, dim=-1)
        return best, found.clamp_min(0).gather(1, places)

    def neighbours_of(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`search`, and how much each neighbour counts: weights (B, k) that sum to 1."""
        similarities, indices = self.search(embedding)
        return similarities, indices, torch.softmax(self.temperature * similarities, dim=-1)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, E) -> blended unit embeddings (B, E), each row on its own. ValueError: not finite."""
        if not embedding.isfinite().all():
            raise ValueError("an embedding holds values that are not finite")
        _, indices, weights = self.neighbours_of(embedding)
        rows = self._rows(indices, embedding)
        if not rows.isfinite().all():  # a compressed cache is mapped from its file, not read through when it is loaded
            raise ValueError("the visual cache holds prototypes that are not finite")
        retrieved = torch.einsum("bk,bkd->bd", weights, rows)
        retrieved = functional.normalize(retrieved, dim=-1)
        return functional.normalize((1.0 - self.blend) * embedding + self.blend * retrieved, dim=-1)

    def _rows(self, indices: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Prototypes (..., E) at indices (...), of the type and on the device of ``like``."""
        return self.prototypes[indices.to(self.prototypes.device)].to(like)

    def save(self, folder: Path, encoder_identity: str) -> None:
        """Write prototypes (fp16), index and settings with the identity of the encoder, atomically."""
        metadata = {"encoder": encoder_identity, "kind": self.kind}
        metadata |= {name: str(getattr(self, name)) for name in SETTINGS}
        if self.source:
            metadata["source"] = self.source
        tensors = {"prototypes": self.prototypes.half().contiguous()}
        if self.index is not None:
            tensors["index"] = self.index.to_bytes()
        with atomic_file(folder / FILE) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, folder: Path, encoder_identity: str) -> Self:
        """Read a cache; refuse one that another encoder made, since its neighbours would be noise."""
        path = folder / FILE
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"no visual cache in {folder}: {FILE} cannot be read ({error})") from error
        if metadata.get("encoder") != encoder_identity:
            raise ValueError(f"{path} was made by encoder {metadata.get('encoder')!r}, expected {encoder_identity!r}")
        tensors, kind = load_file(path), metadata.get("kind", "exact")  # mapped into memory, not read
        _check_names(path, tensors, {"prototypes"} if kind == "exact" else {"prototypes", "index"})
        _check_names(path, metadata, {"encoder", *SETTINGS}, {"kind", "format", "source"})
        return cls(
            tensors["prototypes"],
            int(metadata["neighbours"]),
            float(metadata["temperature"]),
            float(metadata["blend"]),
            kind,
            PrototypeIndex.from_bytes(kind, tensors["index"]) if "index" in tensors else None,
            metadata.get("source"),
        )


def _check_names(path: Path, found: Collection[str], needed: set[str], allowed: Collection[str] = ()) -> None:
    """Raise ValueError that names an entry which is missing or unknown."""
    for name in sorted(needed - set(found)):
        raise ValueError(f"{path} lacks {name!r}")
    for name in sorted(set(found) - needed - set(allowed)):
        raise ValueError(f"{path} has the unknown entry {name!r}")
