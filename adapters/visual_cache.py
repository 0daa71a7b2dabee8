"""The visual cache: training-free retrieval at inference (2309.03905, Sec. 3.4), exact search."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional


class VisualCache(nn.Module):
    """Blends an embedding with its nearest image prototypes.

    r = norm(softmax(T * top-k similarities) @ prototypes);  f' = norm((1 - blend) f + blend r).
    The paper: k = 10, T = 20, blend 0.5, three million prototypes.
    """

    def __init__(self, prototypes: torch.Tensor, neighbours: int = 10, temperature: float = 20.0, blend: float = 0.5):
        super().__init__()
        if prototypes.ndim != 2:
            raise ValueError(f"prototypes must have shape (N, D), not {tuple(prototypes.shape)}")
        if not 0.0 <= blend <= 1.0:
            raise ValueError(f"blend must lie in 0..1, not {blend}")
        self.register_buffer("prototypes", functional.normalize(prototypes.float(), dim=-1), persistent=False)
        self.neighbours, self.temperature, self.blend = min(neighbours, len(prototypes)), temperature, blend

    def search(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarities and indices (B, k) of the nearest prototypes of unit embeddings (B, D)."""
        return (embedding @ self.prototypes.T).topk(self.neighbours, dim=-1)

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (B, D) -> blended unit embeddings (B, D), each row on its own."""
        similarities, indices = self.search(embedding)
        weights = torch.softmax(self.temperature * similarities, dim=-1)  # (B, k)
        retrieved = functional.normalize(torch.einsum("bk,bkd->bd", weights, self.prototypes[indices]), dim=-1)
        return functional.normalize((1.0 - self.blend) * embedding + self.blend * retrieved, dim=-1)

    def save(self, folder: Path, encoder_identity: str) -> None:
        """Write the prototypes (fp16) with the identity of the encoder that made them."""
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {
            "encoder": encoder_identity,
            "neighbours": str(self.neighbours),
            "temperature": str(self.temperature),
            "blend": str(self.blend),
        }
        save_file({"prototypes": self.prototypes.half()}, folder / "prototypes.safetensors", metadata)

    @classmethod
    def load(cls, folder: Path, encoder_identity: str) -> VisualCache:
        """Read a cache; refuse one that another encoder made, since its neighbours would be noise."""
        from safetensors import safe_open

        path = folder / "prototypes.safetensors"
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("encoder") != encoder_identity:
            raise ValueError(f"{path} was made by encoder {metadata.get('encoder')!r}, expected {encoder_identity!r}")
        return cls(
            load_file(path)["prototypes"],
            int(metadata["neighbours"]),
            float(metadata["temperature"]),
            float(metadata["blend"]),
        )
