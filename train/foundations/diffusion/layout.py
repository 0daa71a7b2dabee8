"""Trains where the things of a caption stand and what is looked up for them (decoders.layout), on scenes of things.

Shapes: B captions, L phrases, E their width, Q queries, K names.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from data import things
from data.parts import part_folder
from data.strict import read_json
from data.things.captions import Naming, any_name, first_name
from decoders.layout import LAYOUT, LayoutConfig, LayoutNetwork, Pictures, save_layout
from decoders.phrases import SLOTS, THINGS, Embed, embed_captions
from encoders.sentence_encoder import Remembered, SentenceEncoder
from train.foundations.encoder.image_reader import overlap
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, EndlessDataset
from train.settings import setting
from train.task import Task


@dataclass(frozen=True)
class LayoutSettings:
    """Settings of :class:`LayoutTask`."""

    seed: int = setting(TRAIN_SEED, low=0, help="of the stream of scenes")
    noise: float = setting(0.02, low=0, help="deviation of the noise on phrases: projections are not exact")
    other_nouns: float = setting(0.3, low=0, help="weight of names beyond the world's: others are looked up, too")
    held_out: int = setting(512, low=1, help="captions that evaluate() uses")


class LayoutTask(Task):
    """Boxes by L1, which thing stands in each, and names by their cosines with all names."""

    Settings = LayoutSettings
    settings: LayoutSettings
    model: "LayoutObjective"
    part = "layout"
    modality: ClassVar[str] = "image"
    frames: ClassVar[int] = 0

    def captions(self, seed: int, nouns: list[str]) -> Dataset:
        """What to learn from."""
        return SceneCaptions(seed, nouns)

    def build(self) -> None:
        self.embed = Remembered(SentenceEncoder.from_pretrained(part_folder("minilm")))
        nouns = [name.lower() for name in read_json(part_folder("efficientnet") / "classes.json")["classes"]]
        self.nouns = sorted(set(nouns) - set(things.catalogue()))
        network = LayoutNetwork(LayoutConfig(width=self.embed.encoder.width, frames=self.frames))
        self.model = LayoutObjective(network, self.embed(things.trained_things() + self.nouns), self.settings)
        self.dataset = self.captions(self.settings.seed, self.nouns)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"layout": list(self.model.network.parameters())}

    def collate(self, items: list[dict]) -> dict[str, torch.Tensor]:
        return {
            "phrases": embed_captions([item["caption"] for item in items], self.embed),
            "nouns": self.embed([item["noun"] for item in items]),
            **{name: torch.stack([item[name] for item in items]) for name in ("boxes", "owners", "names", "noun_row")},
        }

    def export(self, model_dir: Path) -> None:
        """Write ``<modality>_decoder/layout``, with the pictures of all things, of those that training does not see
        as well: what is looked up need not have been learned."""
        folder = Path(model_dir) / f"{self.modality}_decoder" / LAYOUT
        folder.mkdir(parents=True, exist_ok=True)
        save_layout(folder, self.model.network.eval(), known_pictures(self.embed, list(things.catalogue())))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On unseen captions in other names: captions with the right number of things, boxes that overlap by half,
        names looked up rightly, of held-out things among all names as well."""
        network, count = self.model.network.eval(), self.settings.held_out
        right = {"number": [], "overlap": [], "name": [], "held_out_name": []}
        everything = self.embed(list(things.catalogue()))
        order = {name: row for row, name in enumerate(things.catalogue())}
        for index in range(count):
            kind = "held_out" if index % 4 == 0 else "train"
            scene = things.sample(HELD_OUT_SEED, index, things=kind, pairs="all")
            phrases = embed_captions([things.caption(scene)], self.embed)
            boxes, owners = network(phrases)
            chosen = owners[0].argmax(-1) < THINGS
            right["number"].append(int(chosen.sum()) == scene.count)
            if int(chosen.sum()) == scene.count:
                own = torch.tensor(things.centred_boxes(scene))
                right["overlap"] += (overlap(boxes[0, chosen], own) > 0.5).tolist()
            looked_up = int((network.names(phrases[0, 0]) @ everything.T).argmax())
            right["name" if kind == "train" else "held_out_name"].append(looked_up == order[scene.placed[0].thing])
        return {name: float(np.mean(values)) for name, values in right.items()}


def known_pictures(embed: Embed, names: list[str] | None = None) -> Pictures:
    """The pictures of things; None = of those that training sees."""
    names = things.trained_things() if names is None else names
    return Pictures(names, embed(names), np.stack([np.asarray(things.sprite(name)) for name in names]))


@dataclass(eq=False)
class SceneCaptions(EndlessDataset):
    """Item i: the caption of scene i, its boxes, whose they are, the names of its things; and another noun."""

    seed: int
    nouns: list[str]

    def scene(self, index: int, naming: Naming) -> tuple[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Caption and layout of scene ``index``."""
        scene = things.sample(self.seed, index)
        return things.caption(scene, naming), scene_layout(scene)

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng((self.seed, index, 6))
        caption, (boxes, owners, names) = self.scene(index, any_name(rng) if rng.random() < 0.5 else first_name)
        row = int(rng.integers(len(self.nouns)))
        colour = str(rng.choice(["", "", *things.COLOURS]))
        return {
            "caption": caption,
            "noun": f"{colour} {self.nouns[row]}".strip(),
            "noun_row": torch.tensor(len(things.trained_things()) + row),
            **{"boxes": boxes, "owners": owners, "names": names},
        }


def scene_layout(scene: things.Scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes (Q, 4), centre and size; which thing of the caption each is, THINGS for none (Q,); rows of the things'
    names among those trained, -1 for none (THINGS,)."""
    order = {name: row for row, name in enumerate(things.trained_things())}
    boxes, owners = torch.zeros(LayoutConfig().boxes, 4), torch.full((LayoutConfig().boxes,), THINGS)
    names = torch.full((THINGS,), -1)
    for query, box in enumerate(things.centred_boxes(scene)):
        boxes[query] = torch.tensor(box)
        owners[query] = 0 if scene.layout == "several" else query
    for thing, placed in enumerate(scene.placed[: 1 if scene.layout == "several" else THINGS]):
        names[thing] = order.get(placed.thing, -1)
    return boxes, owners, names


class LayoutObjective(nn.Module):
    """The network and its losses. ``names`` (K, E): what is looked up."""

    def __init__(self, network: LayoutNetwork, names: torch.Tensor, settings: LayoutSettings) -> None:
        super().__init__()
        self.network, self.noise, self.other_nouns = network, settings.noise, settings.other_nouns
        self.register_buffer("names", names, persistent=False)
        self.names: torch.Tensor

    def forward(self, phrases, nouns, boxes, owners, names, noun_row) -> dict[str, torch.Tensor]:
        """phrases (B, L, E), nouns (B, E), boxes (B, Q, 4) or poses (B, Q, F, POSE), owners (B, Q), names (B, THINGS),
        noun_row (B,)."""
        said = phrases.any(-1, keepdim=True)
        phrases = phrases + self.noise * torch.randn_like(phrases) * said
        nouns = nouns + self.noise * torch.randn_like(nouns)
        found, things_found = self.network(phrases)
        there = owners < THINGS
        box = self.distance(found, boxes)[there].mean()
        thing = functional.cross_entropy(things_found.flatten(0, 1), owners.flatten())
        known = names >= 0
        name = self.name_loss(phrases[:, : SLOTS - 2 : 2][known], names[known])
        parts = {"box": box, "thing": thing, "name": name, "noun": self.name_loss(nouns, noun_row)}
        loss = 3 * box + thing + name + self.other_nouns * parts["noun"]
        return {"loss": loss, **{key: value.detach() for key, value in parts.items()}}

    @staticmethod
    def distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """L1 of boxes (B, Q, 4), or of poses (B, Q, F, POSE), whose last number is an opacity, over frames: (B, Q)."""
        if found.ndim == 3:
            return (found - wanted).abs().sum(-1)
        placed = (found[..., :-1] - wanted[..., :-1]).abs() * found.new_tensor([1, 1, 1, 1, 0.3, 0.3])
        seen = functional.binary_cross_entropy_with_logits(found[..., -1], wanted[..., -1], reduction="none")
        return (placed.sum(-1) + 0.2 * seen).mean(-1)

    def name_loss(self, phrases: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the cosines (N,) with all names."""
        return functional.cross_entropy(self.network.names(phrases) @ self.names.T * 20, rows)
