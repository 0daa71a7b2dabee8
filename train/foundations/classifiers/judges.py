"""Training of the judges that score generated media of one's own data.

    nextgpt-lite train train/recipes/judge_image.yaml task_settings.data=digits/train.jsonl model=runs/digits

A judge sees varied copies of the files, roughened as a decoder would roughen them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from evaluation.judges import Judge, JudgeNetwork, prepare
from train.recipe import RecipeError
from train.task import Task
from train.worlds import ManifestWorld, MediaStream, open_world

TRAIN_SEED, HELD_OUT_SEED = 71, 72
#: Deviation of the noise on inputs, which lie between -1 and 1: at most.
NOISE = 0.2


class JudgeTask(Task):
    """Cross-entropy of one attribute on media of one modality."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; Toybox has oracles of its own
        "attribute": "",  # of meta.attributes; may be left out where there is one only
        "variations": 10,  # of each medium, all but the first slightly changed
        "width": 24,
        "held_out": 400,  # media of evaluate(), at most
    }
    modality: ClassVar[str]
    model: JudgeNetwork

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        world = open_world(self.settings["data"])
        if not isinstance(world, ManifestWorld):
            raise RecipeError("a judge needs data, e.g. task_settings.data=digits/train.jsonl")
        self.attribute, self.classes = chosen_attribute(world, self.settings["attribute"])
        self.model = JudgeNetwork(self.modality, len(self.classes), self.settings["width"])
        training = world.stream(self.modality, TRAIN_SEED, variations=self.settings["variations"])
        self.dataset = LabelledMedia(training, self.attribute, self.classes)
        self.held_out = LabelledMedia(
            world.stream(self.modality, HELD_OUT_SEED, held_out=True), self.attribute, self.classes
        )

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"judge": list(self.model.parameters())}

    def collate(self, items: list[tuple[np.ndarray, int, int]]) -> dict[str, torch.Tensor]:
        """{"inputs": roughened by the items' numbers, "labels": (B,)}."""
        inputs = prepare(self.modality, [medium for medium, _, _ in items])
        generator = torch.Generator().manual_seed(sum(number for _, _, number in items))
        strength = NOISE * torch.rand((len(items), 1, 1, 1), generator=generator)
        inputs = inputs + strength * torch.randn(inputs.shape, generator=generator)
        return {"inputs": inputs, "labels": torch.tensor([label for _, label, _ in items])}

    def export(self, model_dir: Path) -> None:
        """``judges/<modality>`` in the model folder."""
        Judge(self.model, self.attribute, self.classes).save_pretrained(Path(model_dir) / "judges")

    def evaluate(self) -> dict[str, float]:
        """Share right of media that training never saw, as they are."""
        items = [self.held_out[index] for index in range(min(self.settings["held_out"], len(self.held_out)))]
        found = Judge(self.model, self.attribute, self.classes).predict([medium for medium, _, _ in items])
        return {
            "right": float(np.mean([self.classes[item[1]] == value for item, value in zip(items, found, strict=True)]))
        }


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

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, int]:
        row = self.rows[index]
        return self.stream.medium(row), self.classes.index(self.stream.attributes(row)[self.attribute]), index


def chosen_attribute(world: ManifestWorld, name: str) -> tuple[str, tuple[str, ...]]:
    """The attribute to judge and its values. RecipeError where it is not there, or where it is not clear which."""
    known = world.attributes
    if name and name not in known:
        raise RecipeError(f"unknown attribute {name!r}: the data name {', '.join(known) or 'none'}")
    if not name and len(known) != 1:
        raise RecipeError(f"say which attribute to judge: the data name {', '.join(known) or 'none'}")
    name = name or next(iter(known))
    return name, known[name]
