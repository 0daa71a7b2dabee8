"""What the rest of the application asks of an encoder: media (and text, with a text tower) in one space."""

import pickle
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from data.atomic import atomic_file, hash_file, write_json
from data.strict import read_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
#: Preprocessed media: stacked, or a list where their shapes differ.
Batch = torch.Tensor | list[torch.Tensor]


class Encoder(nn.Module, ABC):
    """An encoder of several media into one space. Shapes: B media, P patches of a medium, E = ``width``."""

    width: int  #: of an embedding and of a patch token
    modalities: tuple[str, ...]  #: that it reads, names in ``data.modalities.MODALITIES`` or of further sensors
    #: SHA-256 of the weights file that was loaded or saved last: projections and caches made with one encoder are
    #: worthless with another, and record it.
    identity: str = ""
    reads_text: bool = False  #: whether it has a text tower
    tunable: bool = True  #: whether gradients pass from its embeddings to its weights
    simulated: tuple[str, ...] = ()  #: modalities whose media training makes up (train.dialogues.simulated)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def hold_in(self, dtype: torch.dtype) -> Self:
        """Keep the weights in ``dtype``, in place, where the encoder can; small ones stay in float32."""
        return self

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side in pixels at which images and videos are seen."""

    @abstractmethod
    def set_image_size(self, size: int) -> None:
        """See images and videos at ``size`` pixels a side; position embeddings are interpolated."""

    @abstractmethod
    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        """One raw medium to the tensor that :meth:`embed` takes, without a batch axis. ``rate``: hertz or frames/s.

        Raises ValueError for an unknown modality, or an array that is no such medium.
        """

    @abstractmethod
    def embed(self, modality: str, batch: Batch) -> torch.Tensor:
        """Preprocessed media to float32 unit vectors (B, E)."""

    @abstractmethod
    def patches(self, modality: str, batch: Batch) -> list[torch.Tensor]:
        """Float32 patch tokens (P, E) of each medium."""

    def describe(self, modality: str, batch: Batch, language: str = "en") -> list[str]:
        """What it reads in each of the preprocessed media, in words; "" where it knows none."""
        return [""] * len(batch)

    @abstractmethod
    def patch_counts(self) -> dict[str, int]:
        """How many tokens :meth:`patches` gives for a medium of each modality."""

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """Texts to float32 unit vectors (B, E). Raises ValueError without a text tower."""
        raise ValueError(f"{type(self).__name__} has no text tower, so it cannot embed texts")

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write configuration, weights and tokenizer; an interrupted call leaves what was there before."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read what :meth:`save_pretrained` wrote, in evaluation mode. ValueError names what is missing or unknown."""

    @classmethod
    def from_config(cls, folder: str | Path) -> Self:
        """The encoder that ``config.json`` in a folder describes, its weights not read; of small ones they are."""
        return cls.from_pretrained(folder)

    def write(self, folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
        """Write ``config.json``, with the class, and ``model.safetensors``, each atomically; note the identity."""
        write_json(folder / CONFIG_FILE, {"class": type(self).__name__, **config})
        with atomic_file(folder / WEIGHTS_FILE) as temporary:
            save_file(weights, temporary)
        self.identity = hash_file(folder / WEIGHTS_FILE)

    def check_modality(self, modality: str) -> None:
        """Raise ValueError for a medium that this encoder does not read."""
        if modality not in self.modalities:
            raise ValueError(f"this encoder reads {', '.join(self.modalities)}, not {modality}")


def read_config(folder: str | Path) -> dict[str, Any]:
    """The ``config.json`` of an encoder's folder. Raises ValueError where it is missing or no JSON object."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"no encoder in {folder}: {CONFIG_FILE} is missing")
    return read_json(path)


def stacked(batch: Batch) -> torch.Tensor:
    """A batch as one tensor (B, ...)."""
    return batch if isinstance(batch, torch.Tensor) else torch.stack(batch)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of a PyTorch archive, mapped into memory rather than read."""
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, SafetensorError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not a file of tensors alone, and nothing else is read: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds something other than a state dict: expected names and tensors")
    return state


def check_state(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], source: str) -> None:
    """Raise ValueError unless ``state`` has exactly the names and shapes of ``expected``, and finite values."""
    if missing := [name for name in expected if name not in state]:
        raise ValueError(f"{source} lacks {len(missing)} of {len(expected)} keys, the first is {missing[0]!r}")
    if unknown := [name for name in state if name not in expected]:
        raise ValueError(f"{source} has {len(unknown)} unknown keys, the first is {unknown[0]!r}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            found, wanted = tuple(value.shape), tuple(expected[name].shape)
            raise ValueError(f"{source}: {name!r} has shape {found}, expected {wanted}")
        if not name.endswith(".mask") and not value.isfinite().all():  # the causal mask is made of -inf
            raise ValueError(f"{source}: {name!r} holds values that are not finite")
