"""Trains the encoder: every medium against text, ImageBind's way, in a world whose captions are exact.

    nextgpt-lite train train/recipes/encoder.yaml

Two contrasts share the towers. The first is InfoNCE between a medium and a phrase that names some of what it shows;
a phrase of the batch that happens to fit another medium as well is no negative for it. The second contrasts a medium
with one short phrase for each value of each attribute ("a red thing", "a thing at the top", ...): the hardest
negatives there are, since they differ in nothing else, and what makes each attribute linearly readable. There is no
classification head; both are cosines with the text tower. A phrase is English or, in a quarter of the cases, Chinese.
Media from outside the world have a phrase of their own, "something unknown".

Legend: B batch, E width of the shared space, A attributes, P phrases.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from data.toybox import world
from data.toybox.grammar import phrase
from encoders import ImageBindConfig, MediaEncoder, MediaEncoderConfig, PointConfig, TowerConfig
from encoders.preprocess_audio import AudioSettings
from encoders.preprocess_image import ImageSettings
from encoders.preprocess_video import VideoSettings
from encoders.text_tokenizer import train_tokenizer
from train.foundations.contrast_pools import (
    ABSENT,
    ATTRIBUTES,
    UNKNOWN,
    Stream,
    decode_attributes,
    encode_attributes,
    from_storage,
    pool,
)
from train.foundations.contrast_probe import probe_encoder
from train.task import Task

UNKNOWN_PHRASES = {
    "en": ("something unknown", "something I do not know", "an unknown thing"),
    "zh": ("我不认识的东西", "未知的东西", "不认识的东西"),
}
TRAIN_SEED, TOKENIZER_SEED = 31, 32
CHINESE_SHARE = 0.25


def nano_config(settings: dict[str, Any]) -> MediaEncoderConfig:
    """The encoder of the embedded model: ImageBind's towers at small width."""
    shared, size, patch = settings["shared_width"], settings["image_size"], settings["patch"]
    cube, strip = (2, patch, patch), (16, 12)
    vision = TowerConfig(settings["vision_width"], settings["vision_depth"], 4, (3, 2, size, size), cube, cube)
    audio = TowerConfig(
        settings["audio_width"], settings["audio_depth"], 4, (1, 64, 204), strip, strip, logit_scale=20.0
    )
    text = TowerConfig(
        settings["text_width"], settings["text_depth"], 4, (48,), vocabulary=settings["vocabulary"], logit_scale=14.3
    )
    points = PointConfig(
        width=96, depth=3, heads=4, groups=32, group_size=16, patch_widths=(32, 64, 128), patch_output=96,
        position_width=64, projection_width=128, shared_width=shared, points=256, head_dropout=0.0,
    )  # fmt: skip
    return MediaEncoderConfig(
        ImageBindConfig(shared, {"vision": vision, "text": text, "audio": audio}),
        points,
        ImageSettings(size=size, mean=(0.5, 0.5, 0.5), deviation=(0.27, 0.27, 0.27)),
        VideoSettings(clips=3, clip_seconds=0.0, crops=1),
        AudioSettings(mels=64, mean=-7.4, deviation=7.4),
    )


def unknown_phrase(language: str, rng: np.random.Generator) -> str:
    """A paraphrase of "something unknown"."""
    return UNKNOWN_PHRASES[language][int(rng.integers(len(UNKNOWN_PHRASES[language])))]


def partial_attributes(attributes: dict, rng: np.random.Generator) -> dict:
    """All attributes in half of the cases, else a random part; how many there are is always said."""
    if rng.random() < 0.5:
        return attributes
    kept = {name: value for name, value in attributes.items() if rng.random() < 0.5 or name == "count"}
    return kept if set(kept) - {"count"} else attributes


def caption(attributes: dict, modality: str, language: str, rng: np.random.Generator) -> str:
    """A paraphrase that names exactly ``attributes``."""
    if attributes["thing" if "thing" in attributes else next(iter(attributes))] == UNKNOWN:
        return unknown_phrase(language, rng)
    return phrase(attributes, modality, language, rng)


def tokenizer_texts(count: int = 12_000):
    """Phrases of random scenes in both languages, for the tokenizer."""
    for index in range(count):
        rng = np.random.default_rng((TOKENIZER_SEED, index))
        modality = world.MODALITIES[index % len(world.MODALITIES)]
        attributes = world.visible(world.random_scene(rng), modality)
        yield caption(partial_attributes(attributes, rng), modality, "zh" if index % 3 == 0 else "en", rng)
    for phrases in UNKNOWN_PHRASES.values():
        yield from phrases


def attribute_phrases(language: str) -> list[str]:
    """One canonical phrase for each value of each attribute, in the order of ``ATTRIBUTES``."""
    return [
        UNKNOWN_PHRASES[language][0] if value == UNKNOWN else phrase({name: value}, None, language)
        for name, values in ATTRIBUTES.items()
        for value in values
    ]


class ContrastData(Dataset):
    """Item i: a medium of a pool, and a phrase about it. ``shares`` are the modalities' shares of the items."""

    def __init__(
        self, pools: dict[str, tuple], shares: dict[str, float], seed: int, length: int, recoloured: float = 0.0
    ):
        self.pools, self.shares, self.seed, self.length = pools, shares, seed, length
        self.recoloured = recoloured

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, index))
        modality = str(rng.choice(list(self.shares), p=list(self.shares.values())))
        stored, codes = self.pools[modality]
        row = int(rng.integers(len(stored)))
        medium, shown = stored[row], decode_attributes(codes[row])
        if modality in ("image", "video") and rng.random() < self.recoloured:
            medium, shown = recolour(medium, shown, rng)
        named = partial_attributes(shown, rng)
        language = "zh" if rng.random() < CHINESE_SHARE else "en"
        return {
            "index": index,
            "modality": modality,
            "medium": medium,
            "codes": encode_attributes(shown),
            "text": caption(named, modality, language, rng),
            "text_codes": encode_attributes(named),
        }


def recolour(medium: np.ndarray, shown: dict, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """A picture or clips in colours that no word fits: what is left to tell a thing by is its shape.

    ``medium`` is uint8 (3, H, W) or (S, 3, 2, H, W); colour and background leave the attributes.
    """
    axis = 0 if medium.ndim == 3 else 1
    turned = np.take(medium, rng.permutation(3), axis=axis)
    turned = 255 - turned if rng.random() < 0.4 else turned
    return turned, {name: value for name, value in shown.items() if name not in ("colour", "background")}


class ContrastModel(nn.Module):
    """The encoder and the two contrasts. ``thing_weight`` is that of the thing among the attributes."""

    def __init__(
        self, encoder: MediaEncoder, attribute_weight: float, contrast_weight: float = 1.0, thing_weight: float = 1.0
    ):
        super().__init__()
        self.encoder = encoder
        self.attribute_weight, self.contrast_weight = attribute_weight, contrast_weight
        self.thing_weight = thing_weight
        self.log_attribute_scale = nn.Parameter(torch.tensor(math.log(12.0)))
        for language in UNKNOWN_PHRASES:
            ids = encoder.tokenize(attribute_phrases(language))
            self.register_buffer(f"phrases_{language}", ids, persistent=False)  # (P, L)

    def forward(self, texts, text_codes, codes, **media) -> dict[str, torch.Tensor]:
        """texts (B, L) ids; codes and text_codes (B, A), of media in the order image, video, audio, points."""
        units = {name: self.encoder.embed(name, media[name]) for name in world.MODALITIES if name in media}
        embedded = torch.cat(list(units.values()))  # (B, E)
        contrast = embedded.new_zeros(())
        if self.contrast_weight:
            contrast = self._contrast(embedded, codes, self.encoder.embed_ids(texts), text_codes)
        attributes, right = self._attributes(embedded, codes)
        parts = {"contrast": contrast.detach(), "attributes": attributes.detach()}
        shares = right.split([len(unit) for unit in units.values()])
        parts |= {f"{name}_right": share.nanmean() for name, share in zip(units, shares, strict=True)}
        parts["thing_right"] = right[:, 0].nanmean()
        return {"loss": self.contrast_weight * contrast + self.attribute_weight * attributes, **parts}

    def _contrast(self, media, codes, texts, text_codes) -> torch.Tensor:
        """Symmetric InfoNCE without false negatives."""
        scale = self.encoder.imagebind.modality_postprocessors["text"][1]
        logits = (scale(media) @ texts.T).float()  # (media, texts)
        fits = ((text_codes[None] < 0) | (text_codes[None] == codes[:, None])).all(-1)
        own = torch.eye(len(media), dtype=torch.bool, device=media.device)
        logits = logits.masked_fill(fits & ~own, float("-inf"))
        target = torch.arange(len(media), device=media.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def _attributes(self, media, codes) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy over the phrases of each attribute's values, and (B, A) 1 where the right one is nearest.

        Attributes that a medium does not show count for nothing; the second result has NaN there.
        """
        language = "zh" if torch.rand(()) < CHINESE_SHARE else "en"
        phrases = self.encoder.embed_ids(getattr(self, f"phrases_{language}"))  # (P, E)
        logits = (self.log_attribute_scale.exp().clamp(max=100) * media @ phrases.T).float()
        parts = logits.split([len(values) for values in ATTRIBUTES.values()], dim=1)
        pairs = list(zip(parts, codes.T, strict=True))
        losses = [F.cross_entropy(part, code, ignore_index=ABSENT, reduction="sum") for part, code in pairs]
        right = torch.stack([(part.argmax(-1) == code).float() for part, code in pairs], dim=1)
        losses[0] = self.thing_weight * losses[0]
        return torch.stack(losses).sum() / (codes >= 0).sum(), right.masked_fill(codes < 0, float("nan"))


class ContrastTask(Task):
    """The encoder of the embedded model, from nothing."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "shared_width": 256,
        "image_size": 64,
        "patch": 8,
        "vision_width": 128,
        "vision_depth": 4,
        "audio_width": 128,
        "audio_depth": 4,
        "text_width": 128,
        "text_depth": 3,
        "vocabulary": 1024,
        "images": 24000,  # media rendered for training, outsiders included
        "videos": 8000,
        "sounds": 12000,
        "clouds": 6000,
        "outsider_every": 8,  # every 8th medium is from outside the world; 0 = none
        "shares": {"image": 0.44, "video": 0.16, "audio": 0.28, "points": 0.12},  # of a batch
        "attribute_weight": 2.0,
        "contrast_weight": 1.0,  # of the contrast with whole phrases
        "thing_weight": 1.0,  # of the thing among the attributes
        "recoloured": 0.0,  # share of pictures and clips in colours that no word fits
        "start": "",  # folder in the model folder of an encoder to go on from; none = a new one
        "held_out": 400,  # media of each kind in evaluate()
        "cache": ".cache/encoder",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path):
        super().__init__(settings, model_dir)
        chosen = self.settings
        self.encoder = self._start()
        self.model = ContrastModel(
            self.encoder, chosen["attribute_weight"], chosen["contrast_weight"], chosen["thing_weight"]
        )
        counts = {"image": "images", "video": "videos", "audio": "sounds", "points": "clouds"}
        self.pools = {modality: self._pool(modality, self.settings[name]) for modality, name in counts.items()}
        self.dataset = ContrastData(self.pools, chosen["shares"], TRAIN_SEED, 1 << 20, chosen["recoloured"])

    def _start(self) -> MediaEncoder:
        if self.settings["start"]:
            return MediaEncoder.from_pretrained(self.model_dir / self.settings["start"]).float()
        tokenizer = train_tokenizer(tokenizer_texts(), self.settings["vocabulary"])
        return MediaEncoder(nano_config(self.settings | {"vocabulary": tokenizer.get_vocab_size()}), tokenizer)

    def _pool(self, modality: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        stream = Stream(modality, TRAIN_SEED, count, "train", self.settings["outsider_every"])
        return pool(stream, self.encoder, self.settings["cache"])

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The towers by name, and the scale of the attribute contrast."""
        towers = {"vision": [], "text": [], "audio": [], "points": [], "scale": [self.model.log_attribute_scale]}
        for name, parameter in self.encoder.named_parameters():
            tower = "points" if name.startswith("points.") else name.split(".")[2]
            towers[tower].append(parameter)
        return towers

    def collate(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Media by kind, their codes, and the phrases, all in the order image, video, audio, points."""
        items = sorted(items, key=lambda item: world.MODALITIES.index(item["modality"]))
        generator = torch.Generator().manual_seed(sum(item["index"] for item in items))
        batch = {
            "texts": self.encoder.tokenize([item["text"] for item in items]),
            "text_codes": torch.from_numpy(np.stack([item["text_codes"] for item in items])),
            "codes": torch.from_numpy(np.stack([item["codes"] for item in items])),
        }
        for modality in world.MODALITIES:
            stored = [item["medium"] for item in items if item["modality"] == modality]
            if stored:
                batch[modality] = from_storage(modality, torch.from_numpy(np.stack(stored)), self.encoder, generator)
        return batch

    def export(self, model_dir: Path) -> None:
        """The folder ``encoder`` in the model folder, half precision."""
        self.encoder.save_pretrained(Path(model_dir) / "encoder")

    def evaluate(self) -> dict[str, float]:
        """Accuracy of linear probes on fresh scenes, on held-out pairs, and on media from outside the world."""
        return probe_encoder(self.encoder, self.pools, self.settings["held_out"], self.settings["cache"])
