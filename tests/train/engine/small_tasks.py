"""Tasks that train in milliseconds, for what the engine does around them: dropout needs random states, parts move in
turns, a stream is read from files line by line."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.utils.data import IterableDataset, TensorDataset

from train.settings import setting
from train.task import Task

WIDTH = 6


class Regression(nn.Module):
    """Two linear layers with dropout between, under the mean squared error."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, x, y, second=None):
        made = self.second(functional.dropout(torch.tanh(self.first(x)), 0.2, self.training))
        loss = (made[:, 0] - y).square().mean()
        return {"loss": loss, "bias": self.second.bias.abs().mean().detach()}


class TurnsTask(Task):
    """Samples of two kinds, each of which moves one of two parts."""

    model: Regression

    def __init__(self, settings, model_dir):
        super().__init__(settings, model_dir)
        self.model = Regression()
        generator = torch.Generator().manual_seed(1)
        self.kinds = (torch.arange(40) % 3 == 0).long()
        self.dataset = TensorDataset(
            torch.randn(40, WIDTH, generator=generator), torch.randn(40, generator=generator), self.kinds
        )

    def parts(self):
        return {"first": list(self.model.first.parameters()), "second": list(self.model.second.parameters())}

    def sample_groups(self):
        return self.kinds.tolist()

    def trainable_parts(self, batch) -> tuple[str, ...] | None:
        return ("second",) if bool(batch["second"].all()) else ("first",)

    def collate(self, items):
        x, y, second = (torch.stack(values) for values in zip(*items, strict=True))
        return {"x": x, "y": y, "second": second}

    def export(self, model_dir):
        save_file(self.model.state_dict(), Path(model_dir) / "weights.safetensors")


class LinesTask(TurnsTask):
    """The same regression on a stream of files of JSON lines."""

    @dataclass(frozen=True)
    class Settings:
        files: list[str] = setting([])
        state: bool = setting(True)

    def __init__(self, settings, model_dir):
        super().__init__(settings, model_dir)
        self.dataset = (ResumableLines if self.settings.state else Lines)(self.settings.files)

    def sample_groups(self):
        return None

    trainable_parts = Task.trainable_parts

    def collate(self, items):
        return {"x": torch.tensor([item["x"] for item in items]), "y": torch.tensor([item["y"] for item in items])}


class Lines(IterableDataset):
    """Records of JSON-lines files, one file after the other."""

    def __init__(self, files):
        self.files, self.start, self.place, self.read = files, (0, 0), (0, 0), 0

    def __iter__(self):
        start, self.start = self.start, (0, 0)
        for number, file in enumerate(self.files[start[0] :], start=start[0]):
            for line, text in enumerate(Path(file).read_text().splitlines()):
                if (number, line) >= start:
                    self.place, self.read = (number, line + 1), self.read + 1
                    yield json.loads(text)


class ResumableLines(Lines):
    """Lines that can say and be told where they are."""

    def state_dict(self):
        return {"place": list(self.place)}

    def load_state_dict(self, state):
        self.start = tuple(state["place"])
