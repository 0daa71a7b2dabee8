"""Trains the encoder: every medium against text, ImageBind's way, in a world whose captions are exact, or on manifests.

Two contrasts share the towers. The first is InfoNCE between a medium and a phrase that names some of what it shows;
a phrase of the batch that happens to fit another medium as well is no negative for it. The second contrasts a medium
with one short phrase for each value of each attribute ("a red thing", "a thing at the top", ...): the hardest
negatives there are, since they differ in nothing else, and what makes each attribute linearly readable. There is no
classification head; both are cosines with the text tower. Toybox speaks English or, in a quarter of the cases, Chinese,
and media out of its distribution have a phrase of their own, "something unknown". A manifest has its captions, and the
second contrast where its records name attributes.

Shapes: B batch, E width of the shared space, A attributes, P phrases.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from encoders import ImageBindConfig, MediaEncoder, MediaEncoderConfig, PointConfig, TowerConfig
from encoders.preprocessing.audio import AudioSettings
from encoders.preprocessing.vision import ImageSettings, VideoSettings
from encoders.text_tokenizer import train_tokenizer
from train.embeddings.array_files import cached
from train.foundations.autoencoders.vae import load_vae
from train.foundations.classifiers.image_critic import degrade
from train.foundations.components import frozen, weights_hash
from train.foundations.encoder.linear_probe import probe_encoder
from train.foundations.encoder.phrases import (
    ABSENT,
    ContrastPhrases,
    ManifestPhrases,
    ToyboxPhrases,
    decode_attributes,
    encode_attributes,
    from_storage,
    pool,
    recolour,
)
from train.foundations.pools import DataSettings, EndlessDataset
from train.settings import RecipeError, setting
from train.task import Task
from train.worlds import ManifestWorld, open_world

TRAIN_SEED = 31
#: Medium -> setting that says how many of it are prepared.
COUNTS = {"image": "images", "video": "videos", "audio": "sounds", "points": "clouds"}


@dataclass(frozen=True)
class ContrastSettings(DataSettings):
    """Settings of :class:`ContrastTask`."""

    variations: int = setting(8, low=1, help="of each medium of a manifest, all but the first slightly changed")
    shared_width: int = setting(256, low=1)
    image_size: int = setting(64, low=8)
    patch: int = setting(8, low=1)
    vision_width: int = setting(128, low=4)
    vision_depth: int = setting(4, low=1)
    audio_width: int = setting(128, low=4)
    audio_depth: int = setting(4, low=1)
    text_width: int = setting(128, low=4)
    text_depth: int = setting(3, low=1)
    vocabulary: int = setting(1024, low=1)
    images: int = setting(24000, low=0, help="media prepared for training, those out of distribution included; at most")
    videos: int = setting(8000, low=0)
    sounds: int = setting(12000, low=0)
    clouds: int = setting(6000, low=0)
    outsider_every: int = setting(8, low=0, help="every 8th medium is out of distribution; 0 = none")
    shares: dict[str, float] = setting(
        {"image": 0.44, "video": 0.16, "audio": 0.28, "points": 0.12}, low=0, help="of the media in a batch"
    )
    attribute_weight: float = setting(2.0, low=0, help="of the contrast with attributes")
    attribute_scale: float = setting(12.0, above=0, help="of the cosines of that contrast, at the start")
    contrast_weight: float = setting(1.0, low=0, help="of the contrast with whole phrases")
    thing_weight: float = setting(1.0, low=0, help="of the thing among the attributes")
    recoloured: float = setting(0.0, low=0, high=1, help="share of images and clips in colours that no word fits")
    rough: float = setting(0.0, low=0, high=1, help="share of images decoded by the image VAE from noisy latents")
    latent_noise: float = setting(0.7, low=0, help="greatest deviation of the noise on those latents")
    keep_weight: float = setting(0.0, low=0, help="of the distance to the embeddings of the encoder named by start")
    start: str = setting("", help="folder in the model folder of an encoder to go on from; none = a new one")
    held_out: int = setting(400, low=2, help="media of each kind that evaluate() uses")
    cache: str = ".cache/encoder"

    def __post_init__(self) -> None:
        if unknown := set(self.shares) - set(COUNTS):
            raise ValueError(f"shares: unknown medium {min(unknown)!r}: expected {', '.join(COUNTS)}")
        if self.keep_weight and not self.start:
            raise ValueError("keep_weight must be 0 where start names no encoder: there is none to keep to")


@dataclass(eq=False)
class ContrastData(EndlessDataset):
    """Item i: a medium of a pool, and a phrase about it. ``shares`` are the modalities' shares of the items.

    A share ``settings.rough`` of the images are those of ``degraded`` instead, in the same order.
    """

    pools: dict[str, tuple[np.ndarray, np.ndarray]]
    shares: dict[str, float]
    words: ContrastPhrases
    settings: ContrastSettings
    degraded: np.ndarray | None = None

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((TRAIN_SEED, index))
        modality = str(rng.choice(list(self.shares), p=list(self.shares.values())))
        stored, codes = self.pools[modality]
        row = int(rng.integers(len(stored)))
        known = self.words.matched_attributes
        medium, shown = stored[row], decode_attributes(codes[row], known)
        if modality in ("image", "video") and rng.random() < self.settings.recoloured:
            medium, shown = recolour(medium, shown, rng)
        elif modality == "image" and self.degraded is not None and rng.random() < self.settings.rough:
            medium = self.degraded[row]
        text, named = self.words.describe(modality, row, shown, rng)
        item = {"index": index, "modality": modality, "medium": medium, "undisturbed": stored[row], "text": text}
        return item | {"codes": encode_attributes(shown, known), "text_codes": encode_attributes(named, known)}


class ContrastModel(nn.Module):
    """The encoder and the two contrasts, with weights of ``settings``.

    With ``kept``, an encoder as it was, media are also to be embedded where that one embeds them undisturbed, even
    where they are degraded: what was trained on its embeddings then fits these too.
    """

    def __init__(
        self,
        encoder: MediaEncoder,
        words: ContrastPhrases,
        settings: ContrastSettings,
        kept: MediaEncoder | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.kept, self.settings = encoder, kept, settings
        self.attributes, self.languages = words.attributes, words.languages
        self.log_attribute_scale = nn.Parameter(torch.tensor(math.log(settings.attribute_scale)))
        for language in words.languages if words.attributes else ():
            ids = encoder.tokenize(words.phrases(language))
            self.register_buffer(f"phrases_{language}", ids, persistent=False)  # (P, L)

    def forward(self, texts, text_codes, codes, **media) -> dict[str, torch.Tensor]:
        """texts (B, L) ids; codes and text_codes (B, A), of media in the order image, video, audio, points."""
        units = {name: self.encoder.embed(name, media[name]) for name in COUNTS if name in media}
        embedded = torch.cat(list(units.values()))  # (B, E)
        contrast = embedded.new_zeros(())
        if self.settings.contrast_weight:
            contrast = self._contrast(embedded, codes, self.encoder.embed_ids(texts), text_codes)
        parts = {"contrast": contrast.detach()}
        loss = self.settings.contrast_weight * contrast
        if self.kept is not None:
            with torch.no_grad():
                target = torch.cat([self.kept.embed(name, media[f"undisturbed_{name}"]) for name in units])
            away = (1 - (embedded * target).sum(dim=-1)).mean()
            loss, parts["away"] = loss + self.settings.keep_weight * away, away.detach()
        if not self.attributes:
            return {"loss": loss, **parts}
        attributes, right = self._attributes(embedded, codes)
        parts["attributes"] = attributes.detach()
        shares = right.split([len(unit) for unit in units.values()])
        parts |= {f"{name}_right": share.nanmean() for name, share in zip(units, shares, strict=True)}
        parts[f"{next(iter(self.attributes))}_right"] = right[:, 0].nanmean()
        return {"loss": loss + self.settings.attribute_weight * attributes, **parts}

    def _contrast(self, media, codes, texts, text_codes) -> torch.Tensor:
        """Symmetric InfoNCE without false negatives."""
        scale = cast(nn.Sequential, self.encoder.imagebind.modality_postprocessors["text"])[1]
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
        language = "zh" if torch.rand(()) < self.languages.get("zh", 0.0) else "en"
        phrases = self.encoder.embed_ids(getattr(self, f"phrases_{language}"))  # (P, E)
        logits = (self.log_attribute_scale.exp().clamp(max=100) * media @ phrases.T).float()
        parts = logits.split([len(values) for values in self.attributes.values()], dim=1)
        pairs = list(zip(parts, codes.T, strict=True))
        losses = [F.cross_entropy(part, code, ignore_index=ABSENT, reduction="sum") for part, code in pairs]
        right = torch.stack([(part.argmax(-1) == code).float() for part, code in pairs], dim=1)
        losses[0] = self.settings.thing_weight * losses[0]
        return torch.stack(losses).sum() / (codes >= 0).sum(), right.masked_fill(codes < 0, float("nan"))


class ContrastTask(Task):
    """The encoder of the embedded model, from nothing. Towers for which the data hold no media are left out of it."""

    Settings = ContrastSettings
    settings: ContrastSettings
    model: ContrastModel
    stored: ClassVar[tuple[str, ...]] = ("kept.",)

    def build(self) -> None:
        chosen = self.settings
        world = open_world(chosen.data)
        if isinstance(world, ManifestWorld):
            self.words: ContrastPhrases = ManifestPhrases(world, TRAIN_SEED, chosen.variations, chosen.image_size)
        else:
            self.words = ToyboxPhrases(TRAIN_SEED, chosen.outsider_every)
        streams = {modality: self.words.training(modality, getattr(chosen, name)) for modality, name in COUNTS.items()}
        streams = {modality: stream for modality, stream in streams.items() if stream.count}
        if not streams:
            raise RecipeError("the data hold no medium with a caption to train an encoder on")
        encoder = self._start("points" in streams)
        kept = frozen(copy.deepcopy(encoder)) if chosen.keep_weight else None
        self.model = ContrastModel(encoder, self.words, chosen, kept)
        self.pools = {modality: pool(stream, encoder, chosen.cache) for modality, stream in streams.items()}
        degraded = self._degraded_images(streams["image"].key) if chosen.rough else None
        shares = chosen.shares
        if set(streams) != set(shares):  # their sum is 1 again where a medium is missing
            total = sum(shares[modality] for modality in streams)
            shares = {modality: shares[modality] / total for modality in streams}
        self.dataset = ContrastData(self.pools, shares, self.words, chosen, degraded)

    @property
    def encoder(self) -> MediaEncoder:
        """That of ``model``, for which a sharded run puts a whole one at its end."""
        return self.model.encoder

    def _degraded_images(self, key: str) -> np.ndarray:
        """The pool's images, decoded by the image VAE from noisy latents: uint8 (count, 3, H, W)."""
        chosen, vae, [images, _] = self.settings, load_vae(self.model_dir), self.pools["image"]
        depends_on = f"{key}-{chosen.image_size}-{chosen.latent_noise}-{weights_hash(vae)}"
        made = degrade(vae, images.transpose(0, 2, 3, 1), chosen.latent_noise)
        channels_first = (image.transpose(2, 0, 1) for image in made)
        return cached(chosen.cache, f"degraded-{depends_on}", len(images), lambda: channels_first)

    def _start(self, with_points: bool) -> MediaEncoder:
        if self.settings.start:
            return MediaEncoder.from_pretrained(self.model_dir / self.settings.start).float()
        tokenizer = train_tokenizer(self.words.texts(), self.settings.vocabulary)
        return MediaEncoder(small_config(self.settings, tokenizer.get_vocab_size(), with_points), tokenizer)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The towers by name, and the scale of the attribute contrast."""
        towers = {"vision": [], "text": [], "audio": [], "points": [], "scale": [self.model.log_attribute_scale]}
        for name, parameter in self.encoder.named_parameters():
            tower = "points" if name.startswith("points.") else name.split(".")[2]
            towers[tower].append(parameter)
        return towers

    def collate(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Media by kind, their codes, and the phrases, all in the order image, video, audio, points."""
        items = sorted(items, key=lambda item: list(COUNTS).index(item["modality"]))
        generator = torch.Generator().manual_seed(sum(item["index"] for item in items))
        batch = {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in ("codes", "text_codes")}
        batch["texts"] = self.encoder.tokenize([item["text"] for item in items])
        for modality in COUNTS:
            own = [item for item in items if item["modality"] == modality]
            if own:
                batch[modality] = self._stacked(own, "medium", generator)
            if own and self.model.kept is not None:
                batch[f"undisturbed_{modality}"] = self._stacked(own, "undisturbed")
        return batch

    def _stacked(self, items: list[dict[str, Any]], key: str, generator: torch.Generator | None = None) -> torch.Tensor:
        stored = torch.from_numpy(np.stack([item[key] for item in items]))
        return from_storage(items[0]["modality"], stored, self.encoder, generator)

    def writes(self) -> str:
        return "encoder"

    def export(self, model_dir: Path) -> None:
        """The folder ``encoder`` in the model folder, half precision."""
        self.encoder.save_pretrained(Path(model_dir) / "encoder")

    def evaluate(self) -> dict[str, float]:
        """Accuracy of linear probes on new scenes, on held-out pairs, and on media out of distribution."""
        return probe_encoder(self.encoder, self.words, self.pools, self.settings.held_out, self.settings.cache)


def small_config(settings: ContrastSettings, vocabulary: int, with_points: bool) -> MediaEncoderConfig:
    """The encoder of the embedded model: ImageBind's towers at small width."""
    shared, size, patch = settings.shared_width, settings.image_size, settings.patch
    cube, strip = (2, patch, patch), (16, 12)
    vision = TowerConfig(settings.vision_width, settings.vision_depth, 4, (3, 2, size, size), cube, cube)
    audio = TowerConfig(settings.audio_width, settings.audio_depth, 4, (1, 64, 204), strip, strip, logit_scale=20.0)
    text = TowerConfig(settings.text_width, settings.text_depth, 4, (48,), vocabulary=vocabulary, logit_scale=14.3)
    points = None if not with_points else PointConfig(
        width=96, depth=3, heads=4, groups=32, group_size=16, patch_widths=(32, 64, 128), patch_output=96,
        position_width=64, projection_width=128, shared_width=shared, points=256, head_dropout=0.0,
    )  # fmt: skip
    return MediaEncoderConfig(
        ImageBindConfig(shared, {"vision": vision, "text": text, "audio": audio}),
        {
            "image": ImageSettings(size=size, mean=(0.5, 0.5, 0.5), deviation=(0.27, 0.27, 0.27)),
            "video": VideoSettings(clips=3, clip_seconds=0.0, crops=1),
            "audio": AudioSettings(mels=64, mean=-7.4, deviation=7.4),
            **({"points": points} if points else {}),
        },
    )
