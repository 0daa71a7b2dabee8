"""Training of the oracles that score generated media: real renders, degraded as a decoder would degrade them.

Renders are made once and kept in ``.cache``; each is used many times, each time damaged differently. Scenes hold every
thing-colour pair, the held-out ones as well: an oracle must have seen a pair to say whether the model got it right.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from data import toybox
from evaluation.classifiers import log_mel, resize, scale_mel, scale_pixels
from evaluation.toybox.oracles import Oracle, OracleNetwork, accuracy, label, scenes
from train.embeddings.array_files import cached
from train.foundations.classifiers.classifier_task import ClassifierTask, LabelledPool
from train.foundations.classifiers.damage import damage_mel, damage_pixels, through_mel
from train.foundations.pools import content_hash
from train.settings import setting

HELD_OUT_SEED = 991  # scenes of evaluate(); training streams use other seeds
ROUNDS = 64  # in an epoch every render is used as often


class OracleTask(ClassifierTask):
    """Cross-entropy of every head on damaged renders. Subclasses say what is stored and how it is damaged."""

    @dataclass(frozen=True)
    class Settings:
        seed: int = setting(7, low=0, help="of the stream of scenes")
        pool: int = setting(6000, low=1, help="renders")
        width: int | None = setting(None, low=1, help="channels of the trunk; null = those of the shipped oracle")
        held_out: int = setting(500, low=1, help="scenes that evaluate() uses")
        cache: str = ".cache/oracles"

    settings: Settings
    part = "oracle"
    modality: ClassVar[str]
    model: OracleNetwork

    def build(self) -> None:
        chosen, modality = self.settings, self.modality
        self.model = OracleNetwork(modality, chosen.width)
        drawn = scenes(chosen.seed, chosen.pool)
        # The file's name holds a hash of the first renders: a changed renderer makes another.
        content = content_hash(toybox.render(scene, modality) for scene in drawn[:32])
        key = f"{modality}-{chosen.seed}-{chosen.pool}-{content}"
        made = (self.form(toybox.render(scene, modality)) for scene in drawn)
        renders = cached(chosen.cache, key, chosen.pool, lambda: made)
        self.dataset = LabelledPool(renders, torch.tensor([label(scene, modality) for scene in drawn]))
        self.dataset.length = ROUNDS * len(drawn)

    def form(self, render: np.ndarray) -> np.ndarray:
        """What the pool stores of a render."""
        return render

    def export(self, model_dir: Path) -> None:
        """``<modality>.safetensors`` (fp16) and ``<modality>.json`` in ``model_dir``."""
        Oracle(self.model).save_pretrained(model_dir)

    def evaluate(self) -> dict[str, float]:
        """Accuracy of each head on undamaged renders of unseen scenes."""
        return accuracy(Oracle(self.model), HELD_OUT_SEED, self.settings.held_out)


class ImageOracleTask(OracleTask):
    """Images, (128, 128, 3) uint8."""

    modality = "image"

    def inputs(self, media: Sequence[np.ndarray], generator: torch.Generator) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack(media)).movedim(-1, 1).float()  # (B, 3, 128, 128)
        return scale_pixels(damage_pixels(pixels, generator, len(pixels)))


class VideoOracleTask(OracleTask):
    """Videos, stored at the size of the network's input: (8, 64, 64, 3) uint8."""

    modality = "video"

    def form(self, render: np.ndarray) -> np.ndarray:
        small = resize(torch.from_numpy(render).movedim(-1, 1), 64)
        return small.round().byte().movedim(1, -1).numpy()

    def inputs(self, media: Sequence[np.ndarray], generator: torch.Generator) -> torch.Tensor:
        renders = torch.from_numpy(np.stack(media))
        frames = renders.flatten(0, 1).movedim(-1, 1).float()  # (B F, 3, 64, 64)
        damaged = damage_pixels(frames, generator, len(renders))
        return scale_pixels(damaged.unflatten(0, renders.shape[:2]))  # (B, F, 3, 64, 64)


class AudioOracleTask(OracleTask):
    """Audio, stored as log-mel (64, 128); one in four went through mel and back first, as a vocoder's output has."""

    modality = "audio"

    def form(self, render: np.ndarray) -> np.ndarray:
        wave = torch.from_numpy(render)[None]
        if hashlib.sha256(render.tobytes()).digest()[0] % 4 == 0:
            wave = through_mel(wave)
        return log_mel(wave)[0].half().numpy()

    def inputs(self, media: Sequence[np.ndarray], generator: torch.Generator) -> torch.Tensor:
        return scale_mel(damage_mel(torch.from_numpy(np.stack(media)).float(), generator))
