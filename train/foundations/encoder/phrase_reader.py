"""Trains a tower that reads sounds, videos or points as the phrases of their captions, on the world of things.

InfoNCE between a medium and its caption in many wordings; of each slot of the caption as decoders read it
(``decoders.phrases``) its phrase against the others of the batch, and whether it is said at all.
Shapes: B media, L phrases, E width of the shared space, K names.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from decoders.phrases import THINGS, embed_captions
from encoders.base import CONFIG_FILE
from encoders.sentence_encoder import Remembered
from encoders.towers import TOWERS, Tower
from encoders.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from train.foundations.components import write_component
from train.foundations.encoder.image_reader import contrast
from train.foundations.encoder.phrase_media import PooledMedia, ThingsMedia, features_of
from train.foundations.encoder.vocabulary import NAMED, give_words
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED
from train.settings import RecipeError, read_settings, setting
from train.task import Task
from train.worlds.things_world import ThingsStream

#: What the slots of a caption tell, as figures are named.
SLOT_NAMES = ("thing", "deed", "second_thing", "second_deed", "third_thing", "third_deed", "number", "manner")


@dataclass(frozen=True)
class PhraseReaderSettings:
    """Settings of :class:`PhraseReaderTask`."""

    modality: str = setting(choices=tuple(TOWERS))
    start: str = setting("", help="folder in the model folder of an encoder whose tower goes on; none = a new tower")
    sizes: dict[str, Any] = setting({}, help="of a new tower, see encoders.towers")
    seed: int = setting(TRAIN_SEED, low=0, help="of the stream of media")
    outsiders: float = setting(0.08, low=0, below=1, help="share of media that show nothing of the world")
    pool: int = setting(16384, low=1, help="media whose features are kept")
    cache_dir: str = ".cache/pools"
    presence_weight: float = setting(2.0, low=0)
    held_out: int = setting(512, low=1, help="media that evaluate() uses")


class PhraseReaderTask(Task):
    """Trains one tower of a :class:`TrunkEncoder`; all else of it stays as the model folder has it."""

    Settings = PhraseReaderSettings
    settings: PhraseReaderSettings
    model: "PhraseObjective"
    part = "reader"

    def build(self) -> None:
        chosen = self.settings
        self.modality = chosen.modality
        self.encoder = encoder = self._present(self.model_dir)
        self.encoder.add_tower(self.modality, self._tower())
        stream = ThingsStream(self.modality, chosen.seed)
        if stream.missing:
            raise RecipeError(stream.missing)
        self.texts = Remembered(encoder.text)
        self.dataset = PooledMedia(ThingsMedia(stream, chosen.outsiders), encoder, chosen.pool, chosen.cache_dir)
        names = [name.removeprefix("some ") for name in NAMED[self.modality]()]
        tower: Any = encoder.towers[self.modality]
        self.model = PhraseObjective(tower, self.texts(names), chosen.presence_weight)

    def _present(self, model_dir: Path) -> TrunkEncoder:
        """The encoder of the model folder; where there is none, one that has read no image yet."""
        if (model_dir / "encoder" / CONFIG_FILE).is_file():
            return TrunkEncoder.from_pretrained(model_dir / "encoder")
        if self.settings.modality == "video":
            raise RecipeError(f"no encoder in {model_dir}: train the recipe image_reader first, it reads the frames")
        return TrunkEncoder.from_parts(TrunkEncoderConfig())

    def _tower(self) -> Tower:
        kind, sizes = TOWERS[self.modality]
        if not self.settings.start:
            return kind(read_settings(sizes, self.settings.sizes, "sizes"), self.encoder.width)
        towers: Any = TrunkEncoder.from_pretrained(self.model_dir / self.settings.start).towers
        if self.modality not in towers:
            raise RecipeError(f"start: the encoder in {self.model_dir / self.settings.start} reads no {self.modality}")
        return towers[self.modality]

    def collate(self, items: list[dict]) -> dict:
        return {
            "features": torch.stack([item["features"] for item in items]),
            "captions": self.texts([item["caption"] or "something" for item in items]),
            "phrases": embed_captions([item["said"] for item in items], self.texts),
        }

    def writes(self) -> str:
        return f"encoder/{self.modality}"

    def export(self, model_dir: Path) -> None:
        """Write ``encoder``: as it is in the folder by now, with this tower and its words."""
        encoder = self._present(Path(model_dir))
        encoder.add_tower(self.modality, self.model.tower)
        give_words(encoder, self.modality)
        write_component(encoder, Path(model_dir) / "encoder")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On unseen media: of each slot the share of phrases that are the nearest of all in that slot, and of slots
        that are rightly taken to be said or not."""
        media = ThingsMedia(ThingsStream(self.modality, HELD_OUT_SEED, held_out=True))
        self.model.eval()
        found, there = [], []
        for start in range(0, self.settings.held_out, 16):
            rows = range(start, min(start + 16, self.settings.held_out))
            _, phrases, presence = self.model.tower(features_of(self.encoder, media, rows))
            found.append(phrases)
            there.append(presence > 0)
        captions = [media.caption(row) for row in range(self.settings.held_out)]
        own, found, there = embed_captions(captions, self.texts), torch.cat(found), torch.cat(there)
        said = own.any(-1)  # (B, L)
        figures = {"presence": (there == said).float().mean().item()}
        for slot, name in enumerate(SLOT_NAMES):
            rows = said[:, slot]
            if rows.any():
                table = self.model.table(own, slot)
                nearest = table[(found[rows, slot] @ table.T).argmax(-1)]
                figures[name] = (nearest == own[rows, slot]).all(-1).float().mean().item()
        return figures


class PhraseObjective(nn.Module):
    """A tower and its losses."""

    def __init__(self, tower: Tower, names: torch.Tensor, presence_weight: float) -> None:
        super().__init__()
        self.tower, self.presence_weight = tower, presence_weight
        self.scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.phrase_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.register_buffer("names", names, persistent=False)  # (K, E)
        self.names: torch.Tensor

    def forward(self, features, captions, phrases) -> dict[str, torch.Tensor]:
        """features (B, ...), captions (B, E), phrases (B, L, E), zeros where nothing is said."""
        whole, found, presence = (each.float() for each in self.tower(features))
        said = phrases.any(-1)  # (B, L)
        shown = said.any(-1)  # outsiders have no phrase
        parts = {
            "contrast": contrast(whole[shown], captions[shown], self.scale),
            # InfoNCE alone would let vectors run away from their text along what tells it from others.
            "near": 2 - (whole * captions).sum(-1)[shown].mean() - (found * phrases).sum(-1)[said].mean(),
            "phrases": self.phrase_loss(found, phrases, said),
            "presence": functional.binary_cross_entropy_with_logits(presence, said.float()),
        }
        weights = {"presence": self.presence_weight}
        loss = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def table(self, phrases: torch.Tensor, slot: int) -> torch.Tensor:
        """The distinct phrases that (B, L, E) has in a slot, and for what is shown all names: (N, E)."""
        own = phrases[:, slot]
        own = own[own.any(-1)]
        shown = slot < 2 * THINGS and slot % 2 == 0
        return torch.cat((own, self.names) if shown else (own,)).unique(dim=0)

    def phrase_loss(self, found: torch.Tensor, phrases: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Of each slot that is said the cross-entropy of its phrase among the table's, summed over the slots, as a mean
        over media."""
        losses = []
        for slot in range(phrases.shape[1]):
            rows = said[:, slot]
            if rows.any():
                table = self.table(phrases, slot)
                own = (phrases[rows, slot, None] == table).all(-1).float().argmax(-1)
                logits = found[rows, slot] @ table.T * self.phrase_scale.exp().clamp_max(50)
                losses.append(functional.cross_entropy(logits, own, reduction="sum"))
        return torch.stack(losses).sum() / max(int(said.any(-1).sum()), 1) if losses else found.sum() * 0
