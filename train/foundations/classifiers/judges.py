"""Training of the judges that score generated media of one's own data.

    nextgpt-lite train train/recipes/judges/judge_image.yaml task_settings.data=digits/train.jsonl model=runs/digits

A judge sees varied copies of the files, with noise as a decoder might leave it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from evaluation.judges import Judge, JudgeNetwork, prepare
from train.foundations.classifiers.classifier_task import ClassifierTask, Item, with_noise
from train.foundations.pools import DataSettings
from train.settings import RecipeError, setting
from train.worlds import ManifestWorld, MediaStream, open_world

TRAIN_SEED, HELD_OUT_SEED = 71, 72
#: Greatest deviation of the noise on inputs, which lie between -1 and 1.
NOISE = 0.2


class JudgeTask(ClassifierTask):
    """Cross-entropy of one attribute on media of one modality."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        data: Any = setting([], help="manifests, see train.worlds; Toybox has oracles of its own")
        attribute: str = setting("", help="of meta.attributes; may be left out where there is one only")
        variations: int = setting(10, low=1, help="of each medium, all but the first slightly changed")
        width: int = setting(24, low=1)
        held_out: int = setting(400, low=1, help="media that evaluate() uses, at most")

    settings: Settings
    part = "judge"
    modality: ClassVar[str]
    model: JudgeNetwork

    def build(self) -> None:
        chosen = self.settings
        world = open_world(chosen.data)
        if not isinstance(world, ManifestWorld):
            raise RecipeError("a judge needs data, e.g. task_settings.data=digits/train.jsonl")
        self.attribute, self.classes = chosen_attribute(world, chosen.attribute)
        self.model = JudgeNetwork(self.modality, len(self.classes), chosen.width)
        training = world.stream(self.modality, TRAIN_SEED, variations=chosen.variations)
        unseen = world.stream(self.modality, HELD_OUT_SEED, held_out=True)
        self.dataset = LabelledMedia(training, self.attribute, self.classes)
        self.held_out = LabelledMedia(unseen, self.attribute, self.classes)

    def inputs(self, media: Sequence[np.ndarray], generator: torch.Generator) -> torch.Tensor:
        return with_noise(prepare(self.modality, media), NOISE, generator)

    def export(self, model_dir: Path) -> None:
        """``judges/<modality>`` in the model folder."""
        Judge(self.model, self.attribute, self.classes).save_pretrained(Path(model_dir) / "judges")

    def evaluate(self) -> dict[str, float]:
        """Share of correct predictions on media that training never saw, as they are."""
        items = [self.held_out[index] for index in range(min(self.settings.held_out, len(self.held_out)))]
        predicted = Judge(self.model, self.attribute, self.classes).predict([medium for medium, _, _ in items])
        right = [self.classes[int(label)] == value for (_, label, _), value in zip(items, predicted, strict=True)]
        return {"right": float(np.mean(right))}


class ImageJudgeTask(JudgeTask):
    modality = "image"


class AudioJudgeTask(JudgeTask):
    modality = "audio"


class LabelledMedia(Dataset):
    """Item i: a medium of the stream that has the attribute, its class, its number. RecipeError where there is none."""

    def __init__(self, stream: MediaStream, attribute: str, classes: tuple[str, ...]) -> None:
        self.stream, self.attribute, self.classes = stream, attribute, classes
        self.rows = [row for row in range(len(stream)) if attribute in stream.attributes(row)]
        if not self.rows:
            raise RecipeError(f"the data hold no {stream.modality} with the attribute {attribute!r} to judge")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = self.rows[index]
        label = self.classes.index(self.stream.attributes(row)[self.attribute])
        return self.stream.medium(row), torch.tensor(label), index


def chosen_attribute(world: ManifestWorld, name: str) -> tuple[str, tuple[str, ...]]:
    """The attribute to judge and its values. RecipeError where it is not there, or where it is not clear which."""
    known = world.attributes
    if name and name not in known:
        raise RecipeError(f"unknown attribute {name!r}: the data name {', '.join(known) or 'none'}")
    if not name and len(known) != 1:
        raise RecipeError(f"say which attribute to judge: the data name {', '.join(known) or 'none'}")
    name = name or next(iter(known))
    return name, known[name]
