"""Judges: small classifiers of an attribute, trained on the files of a manifest and apart from the model.

Judges are for your own data what oracles are for Toybox. They share no weights with the model that they judge.

    nextgpt-lite train train/recipes/judges/judge_image.yaml task_settings.data=digits/train.jsonl model=runs/digits
    nextgpt-lite evaluate own_data --data digits/test.jsonl --judge runs/digits/judges --model runs/digits

Shapes: B batch, C channels, H height, W width, N audio samples, M mel bands, T mel frames.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from evaluation.classifiers import Residual, audio_inputs, classifier_array, convolution, image_inputs, save_classifier
from evaluation.denials import without_denials
from nextgpt_lite import Reply

MODALITIES = ("image", "audio")
IMAGE_SIZE = 32
WIDTH = 24


class JudgeNetwork(nn.Module):
    """Convolutions, then mean and maximum over the map, then one score a class.

    ``forward(inputs, labels)`` returns ``{"loss", "right"}``; inputs as :func:`prepare` gives them, labels (B,).
    """

    def __init__(self, modality: str, classes: int, width: int = WIDTH) -> None:
        super().__init__()
        if modality not in MODALITIES:
            raise ValueError(f"no judge for {modality!r}: expected one of {', '.join(MODALITIES)}")
        self.modality, self.width = modality, width
        self.body = nn.Sequential(
            convolution(3 if modality == "image" else 1, width),
            convolution(width, 2 * width, 2),
            Residual(2 * width),
            convolution(2 * width, 3 * width, 2),
            Residual(3 * width),
            convolution(3 * width, 4 * width, 2),
        )
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(8 * width, classes))

    def scores(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, classes)."""
        maps = self.body(inputs.contiguous(memory_format=torch.channels_last))
        return self.head(torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), 1)).float()

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.scores(inputs)
        right = (scores.argmax(1) == labels).float().mean()
        return {"loss": F.cross_entropy(scores, labels, label_smoothing=0.05), "right": right}


def prepare(modality: str, arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """image uint8 (H, W, 3) -> (B, 3, 32, 32); audio float32 (N,) at 16 kHz, its first two seconds -> (B, 1, M, T)."""
    return image_inputs(arrays, IMAGE_SIZE) if modality == "image" else audio_inputs(arrays)


class Judge:
    """A trained judge: which value of ``attribute`` media of its modality show."""

    def __init__(self, network: JudgeNetwork, attribute: str, classes: tuple[str, ...]) -> None:
        self.network, self.attribute, self.classes = network.eval(), attribute, classes
        self.modality = network.modality

    @property
    def hash(self) -> str:
        """Of its weights and classes."""
        digest = hashlib.sha256(repr((self.attribute, self.classes)).encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def predict(self, arrays: Sequence[np.ndarray], batch_size: int = 64) -> list[str]:
        """One value for each array (forms: :func:`prepare`)."""
        best: list[int] = []
        for start in range(0, len(arrays), batch_size):
            inputs = prepare(self.modality, arrays[start : start + batch_size])
            best += self.network.scores(inputs).argmax(1).tolist()
        return [self.classes[number] for number in best]

    def says(self, text: str, truth: str) -> bool:
        """Whether a text names the true value and no other; what it denies it does not name."""
        text = without_denials(text)
        named = {v for v in self.classes if re.search(rf"(?<!\w){re.escape(v)}(?!\w)", text, re.IGNORECASE)}
        return named == {truth}

    def shows(self, reply: Reply, truth: str) -> bool:
        """Whether the first medium of this modality in a reply shows the true value; False where there is none."""
        arrays = [classifier_array(medium) for medium in reply.media if medium.modality == self.modality]
        return bool(arrays) and self.predict(arrays[:1]) == [truth]

    def save_pretrained(self, folder: Path) -> None:
        """Write ``<modality>.safetensors`` and ``<modality>.json``."""
        config = {"modality": self.modality, "width": self.network.width, "attribute": self.attribute}
        save_classifier(folder, self.modality, self.network.state_dict(), config | {"classes": self.classes})

    @classmethod
    def from_pretrained(cls, folder: Path, modality: str) -> Self:
        """The judge of ``modality`` in ``folder``. ValueError where it cannot be read."""
        try:
            config = json.loads((folder / f"{modality}.json").read_text(encoding="utf-8"))
            classes = tuple(config["classes"])
            network = JudgeNetwork(config["modality"], len(classes), config["width"])
            network.load_state_dict(load_file(folder / f"{modality}.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"the judge of {modality} in {folder} cannot be read: {error}") from error
        return cls(network, config["attribute"], classes)


def load_judges(folder: Path) -> dict[str, Judge]:
    """All judges of a folder by modality; ValueError where there is none, or where they judge different things."""
    judges = {m: Judge.from_pretrained(folder, m) for m in MODALITIES if (folder / f"{m}.json").is_file()}
    if not judges:
        raise ValueError(f"no judge in {folder}: train the recipes judge_image and judge_audio first")
    if len({(judge.attribute, judge.classes) for judge in judges.values()}) > 1:
        found = "; ".join(f"{name}: {judge.attribute} of {len(judge.classes)}" for name, judge in judges.items())
        raise ValueError(f"the judges in {folder} judge different things: {found}")
    return judges
