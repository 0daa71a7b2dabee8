"""The visual cache: training-free retrieval at inference (2309.03905, Sec. 3.2.3), exact or compressed.

Shapes: N prototypes, E their width, B queries, k neighbours.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from adapters.prototype_index import BLOCK, CANDIDATES, PrototypeIndex
from data.atomic import atomic_file

#: "exact" compares with every prototype; the others are the kinds of :mod:`adapters.prototype_index`.
KINDS = ("exact", *CANDIDATES)
FILE = "prototypes.safetensors"
SETTINGS = ("neighbours", "temperature", "blend")


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

        ``source`` says what they are of, where that can be shown again (nextgpt_lite.inspection.prototypes).
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
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {
            "encoder": encoder_identity,
            "neighbours": str(self.neighbours),
            "temperature": str(self.temperature),
            "blend": str(self.blend),
            "kind": self.kind,
        } | ({"source": self.source} if self.source else {})
        tensors = {"prototypes": self.prototypes.half().contiguous()}
        if self.index is not None:
            tensors["index"] = self.index.to_bytes()
        with atomic_file(folder / FILE) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, folder: Path, encoder_identity: str) -> VisualCache:
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
