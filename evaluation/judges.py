"""Judges: small classifiers of an attribute, trained on the files of a manifest and apart from the model.

What oracles are to Toybox, judges are to data of one's own. They share no weights with the model that they judge.

    nextgpt-lite train train/recipes/judge_image.yaml task_settings.data=digits/train.jsonl model=runs/digits
    nextgpt-lite evaluate own_data --data digits/test.jsonl --judge runs/digits/judges --model runs/digits

Shapes: B batch, C channels, N audio samples, M mel bands, T mel frames.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from evaluation.oracles import Residual, convolution, log_mel, resize, scale_mel, scale_pixels

MODALITIES = ("image", "audio")
SIDE, SAMPLES = 32, 32_000
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
        """(B, classes)."""
        maps = self.body(inputs.contiguous(memory_format=torch.channels_last))
        return self.head(torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), 1)).float()

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.scores(inputs)
        right = (scores.argmax(1) == labels).float().mean()
        return {"loss": F.cross_entropy(scores, labels, label_smoothing=0.05), "right": right}


def prepare(modality: str, arrays: list[np.ndarray]) -> torch.Tensor:
    """image uint8 (H, W, 3) -> (B, 3, 32, 32); audio float32 (N,) at 16 kHz, its first two seconds -> (B, 1, M, T)."""
    if modality == "image":
        return scale_pixels(torch.cat([resize(torch.from_numpy(array).movedim(-1, 0)[None], SIDE) for array in arrays]))
    waves = [np.pad(array[:SAMPLES], (0, max(0, SAMPLES - len(array)))) for array in arrays]
    return scale_mel(log_mel(torch.from_numpy(np.stack(waves)).float()))


class Judge:
    """A trained judge: which value of ``attribute`` media of its modality show."""

    def __init__(self, network: JudgeNetwork, attribute: str, classes: tuple[str, ...]) -> None:
        self.network, self.attribute, self.classes = network.eval(), attribute, classes
        self.modality = network.modality

    @torch.inference_mode()
    def predict(self, arrays: list[np.ndarray], batch_size: int = 64) -> list[str]:
        """One value for each array (forms: :func:`prepare`)."""
        best: list[int] = []
        for start in range(0, len(arrays), batch_size):
            inputs = prepare(self.modality, arrays[start : start + batch_size])
            best += self.network.scores(inputs).argmax(1).tolist()
        return [self.classes[number] for number in best]

    def save_pretrained(self, folder: Path) -> None:
        """Write ``<modality>.safetensors`` and ``<modality>.json``, each aside first and then renamed."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"modality": self.modality, "width": self.network.width, "attribute": self.attribute}
        aside = folder / f".{os.getpid()}.{self.modality}"
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, aside)
        os.replace(aside, folder / f"{self.modality}.safetensors")
        aside.write_text(json.dumps(config | {"classes": self.classes}, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, folder / f"{self.modality}.json")

    @classmethod
    def from_pretrained(cls, folder: Path, modality: str) -> Judge:
        """The judge of ``modality`` in ``folder``. ValueError where it cannot be read."""
        try:
            config = json.loads((folder / f"{modality}.json").read_text(encoding="utf-8"))
            classes = tuple(config["classes"])
            network = JudgeNetwork(config["modality"], len(classes), config["width"])
            network.load_state_dict(load_file(folder / f"{modality}.safetensors"))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"the judge of {modality} in {folder} cannot be read: {error}") from error
        return cls(network, config["attribute"], classes)


def load_judges(folder: Path) -> dict[str, Judge]:
    """All judges of a folder by modality; ValueError where there is none, or where they judge different things."""
    judges = {m: Judge.from_pretrained(folder, m) for m in MODALITIES if (folder / f"{m}.json").is_file()}
    if not judges:
        raise ValueError(f"no judge in {folder}: train the recipes judge_image and judge_audio first")
    if len({(judge.attribute, judge.classes) for judge in judges.values()}) > 1:
        told = "; ".join(f"{name}: {judge.attribute} of {len(judge.classes)}" for name, judge in judges.items())
        raise ValueError(f"the judges in {folder} judge different things: {told}")
    return judges
