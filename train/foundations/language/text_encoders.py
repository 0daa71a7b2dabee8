"""Foundation: the text encoders of the decoders, trained to hold what a caption says.

A decoder's text encoder is frozen once this is done: the diffusion foundations learn to read it, and the
output projections to imitate it, independently of each other. What a caption says is read back from its
states by throw-away linear heads, one an attribute (of a manifest's captions, one a word), each with a class for
"not named".
Letters: B captions, L tokens, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from decoders.diffusion import caption_ids
from train.foundations.diffusion import audio_diffusion
from train.foundations.language import captions
from train.foundations.pools import HELD_OUT_SEED, write_component
from train.task import Task
from train.worlds import World, open_world


class TextEncodersTask(Task):
    """Trains a CLIPTextModel (image, video) and a ClapTextModelWithProjection (audio); exports ``text_encoders/``."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "seed": 61,
        "width": 128,
        "layers": 2,
        "max_length": 16,
        "keep": 0.6,  # chance that a caption names an attribute
        "held_out": 1024,
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        width, layers = self.settings["width"], self.settings["layers"]
        self.world = open_world(self.settings["data"])
        words = self.world.caption_words
        self.clip_tokenizer = captions.build_tokenizer(self.settings["max_length"], words)
        self.clap_tokenizer = audio_diffusion.build_tokenizer(words)
        clip = captions.build_text_encoder(self.clip_tokenizer, width, layers)
        clap = audio_diffusion.build_text_encoder(len(self.clap_tokenizer), width, layers)
        self.model = CaptionReader(clip, clap, width, self.world.readings)
        self.dataset = RandomCaptions(self.world, self.settings["seed"], self.settings["keep"])

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"text_encoders": list(self.model.parameters())}

    def collate(self, items: list[tuple[str, list[int]]]) -> dict[str, torch.Tensor]:
        texts, labels = zip(*items, strict=True)
        sounds = self.clap_tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return {
            "clip_ids": caption_ids(self.clip_tokenizer, texts),
            "clap_ids": sounds["input_ids"],
            "clap_mask": sounds["attention_mask"],
            "labels": torch.tensor(labels),
        }

    def export(self, model_dir: Path) -> None:
        for name, encoder, tokenizer in (
            ("clip", self.model.clip, self.clip_tokenizer),
            ("clap", self.model.clap, self.clap_tokenizer),
        ):
            write_component(model_dir / "text_encoders" / name, encoder.save_pretrained)
            tokenizer.save_pretrained(model_dir / "text_encoders" / f"{name}_tokenizer")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Share of unseen captions whose every attribute is read back rightly."""
        fresh = RandomCaptions(self.world, HELD_OUT_SEED, self.settings["keep"])
        batch = self.collate([fresh[i] for i in range(self.settings["held_out"])])
        right = self.model.read(**batch)
        return {name: float(hits.all(-1).float().mean()) for name, hits in right.items()}


class RandomCaptions(Dataset):
    """Item i: a caption of the world and, for everything that captions say, the class of what this one says."""

    def __init__(self, world: World, seed: int, keep: float, length: int = 1 << 20) -> None:
        self.world, self.readings = world, world.readings
        self.seed, self.keep, self.length = seed, keep, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[str, list[int]]:
        caption, said = self.world.told(self.seed, index, self.keep)
        labels = [v.index(said[name]) if name in said else len(v) for name, v in self.readings.items()]
        return caption, labels


class CaptionReader(nn.Module):
    """Both text encoders under linear heads that read back what captions say: ``readings``, name to values."""

    def __init__(self, clip: nn.Module, clap: nn.Module, width: int, readings: dict[str, tuple]) -> None:
        super().__init__()
        self.clip, self.clap = clip, clap
        self.classes = [len(values) + 1 for values in readings.values()]
        heads = {name: nn.Linear(width, sum(self.classes)) for name in ("clip_end", "clip_mean", "clap")}
        self.heads = nn.ModuleDict(heads)

    def forward(self, clip_ids, clap_ids, clap_mask, labels) -> dict[str, torch.Tensor]:
        """Ids (B, L), labels (B, attributes) -> loss of all heads."""
        losses = {
            name: sum(functional.cross_entropy(part, labels[:, i]) for i, part in enumerate(self._by_attribute(logits)))
            for name, logits in self._logits(clip_ids, clap_ids, clap_mask).items()
        }
        return {"loss": sum(losses.values())} | {name: loss.detach() for name, loss in losses.items()}

    def read(self, clip_ids, clap_ids, clap_mask, labels) -> dict[str, torch.Tensor]:
        """Which attributes each head reads rightly (B, attributes)."""
        return {
            name: torch.stack([part.argmax(-1) for part in self._by_attribute(logits)], -1) == labels
            for name, logits in self._logits(clip_ids, clap_ids, clap_mask).items()
        }

    def _logits(self, clip_ids, clap_ids, clap_mask) -> dict[str, torch.Tensor]:
        seen = self.clip(clip_ids)
        heard = self.clap(clap_ids, attention_mask=clap_mask).text_embeds
        # Scaled to unit coordinates: the pipeline hands on the direction only.
        heard = functional.normalize(heard.float(), dim=-1) * heard.shape[-1] ** 0.5
        return {
            "clip_end": self.heads["clip_end"](seen.pooler_output),
            "clip_mean": self.heads["clip_mean"](seen.last_hidden_state.mean(1)),
            "clap": self.heads["clap"](heard),
        }

    def _by_attribute(self, logits: torch.Tensor) -> list[torch.Tensor]:
        """(B, all classes) -> one (B, classes) an attribute."""
        return list(logits.float().split(self.classes, dim=-1))
