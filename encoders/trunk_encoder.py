"""An encoder over pretrained trunks: one space (ImageBind, 2305.05665), whose text tower is a sentence encoder.

    image -> EfficientNet-Lite (frozen) -> reader -> embedding, object tokens
          -> its 1,000 class probabilities -> mean of the likeliest names' embeddings (ConSE, 1312.5650)
    text  -> sentence encoder (frozen)
    sound, points, frames of a video as the above see them -> tower -> embedding, phrases of a caption

The classifier knows photographs, the reader what it was trained on; how much of an image's embedding comes from which
is decided by how sure the reader is that it is looking at a photograph.
Shapes: B media, Q object tokens, L phrases, K frames of a video, E width of the shared space, which is the sentence
encoder's.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.atomic import hash_file
from data.parts import part_folder
from data.strict import read_settings, setting
from encoders.base import CONFIG_FILE, WEIGHTS_FILE, Batch, Encoder, check_state, read_config, read_state, stacked
from encoders.efficientnet import EfficientNetLite
from encoders.image_reader import ImageReader, ReaderConfig
from encoders.sentence_encoder import SentenceEncoder
from encoders.towers import TOWERS, AudioTowerConfig, PointsTowerConfig, Tower, VideoTowerConfig

#: How many of the classifier's names make an embedding.
LIKELIEST = 10


@dataclass(frozen=True)
class TrunkEncoderConfig:
    """Parts by name (see data.parts), and what was trained on them."""

    trunk: str = setting("efficientnet", help="part that holds the image classifier")
    text: str = setting("minilm", help="part that holds the sentence encoder")
    image: ReaderConfig = field(default_factory=ReaderConfig)
    video: VideoTowerConfig | None = None
    audio: AudioTowerConfig | None = None
    points: PointsTowerConfig | None = None


class TrunkEncoder(Encoder):
    """Media and texts to unit vectors of the sentence encoder's space; object tokens or phrases as patches.

    It reads images, and what it has a tower for.
    """

    reads_text = True
    tunable = False  # each tower has a recipe of its own

    def __init__(self, config: TrunkEncoderConfig, trunk: EfficientNetLite, text: SentenceEncoder) -> None:
        super().__init__()
        self.config, self.trunk, self.text = config, trunk, text
        self.width = text.width
        self.reader = ImageReader(config.image, self.width)
        self.towers = nn.ModuleDict()
        self.modalities = ("image",)
        for modality, (kind, _) in TOWERS.items():
            if sizes := getattr(config, modality):
                self.add_tower(modality, kind(sizes, self.width))
        self.photograph = nn.Linear(self.width, 1)  # of the reader's embedding: the logit of being a photograph
        self.register_buffer("class_names", text(trunk.classes), persistent=False)  # (1000, E)
        self.class_names: torch.Tensor

    def add_tower(self, modality: str, tower: Tower) -> None:
        """Read media of this modality with this tower, whichever did so before."""
        self.towers[modality] = tower
        self.config = replace(self.config, **{modality: tower.config})
        self.modalities = ("image", *self.towers)

    @property
    def image_size(self) -> int:
        return self.trunk.size

    def set_image_size(self, size: int) -> None:
        """Only the trunk's own size is possible: the reader's positions belong to its maps."""
        if size != self.trunk.size:
            raise ValueError(f"this encoder sees images at {self.trunk.size} pixels a side, not at {size}")

    def preprocess(self, modality: str, array: np.ndarray, rate: float | None = None) -> torch.Tensor:
        self.check_modality(modality)
        if modality == "image":
            return self.trunk.preprocess(array)
        tower: Any = self.towers[modality]
        if modality == "video":
            return torch.stack([self.trunk.preprocess(frame) for frame in tower.frames(array)])
        return tower.preprocess(array, rate)

    def embed(self, modality: str, batch: Batch) -> torch.Tensor:
        return torch.stack(self.patches(modality, batch))[:, 0]

    @torch.no_grad()
    def patches(self, modality: str, batch: Batch) -> list[torch.Tensor]:
        """Of an image: its embedding, what the classifier sees, and its object tokens (2 + Q, E); of others their
        embedding and the phrases of a caption, each as long as it is sure to be said (1 + L, E)."""
        self.check_modality(modality)
        if modality == "image":
            seen = self.see(stacked(batch))
            return list(torch.cat([each if each.ndim == 3 else each[:, None] for each in seen], dim=1))
        tower: Any = self.towers[modality]
        return list(tower.tokens(self.features(modality, batch)))

    def patch_counts(self) -> dict[str, int]:
        counts = {name: 1 + getattr(self.config, name).phrases for name in self.towers}
        return {"image": 2 + self.config.image.objects} | counts

    @torch.no_grad()
    def features(self, modality: str, batch: Batch) -> torch.Tensor:
        """What the tower of a medium takes: preprocessed sounds and points as they are; of videos (B, K, 3, H, W) what
        the frozen image reader sees in each frame, and what changes (B, K, values)."""
        media = stacked(batch)
        if modality != "video":
            return media
        tower: Any = self.towers[modality]
        maps = self.trunk.features(media.flatten(0, 1))
        whole, objects = self.reader(self.reader.patches(maps))
        seen = torch.cat((functional.normalize(whole, dim=-1)[:, None], objects), dim=1)
        changed = tower.changed(maps[16].unflatten(0, media.shape[:2]))
        return torch.cat((seen.flatten(1).unflatten(0, media.shape[:2]), changed), dim=-1)

    @torch.no_grad()
    def see(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Preprocessed images (B, 3, H, W) -> embeddings (B, E), unit; what the classifier sees (B, E), as long as it
        is sure; object tokens (B, Q, E), each as long as it is sure that something is there."""
        maps = self.trunk.features(pixels)
        whole, objects = self.reader(self.reader.patches(maps))
        photograph = self.photograph(whole).sigmoid()  # (B, 1)
        seen = self.classified(maps[32])
        mixed = (1 - photograph) * functional.normalize(whole, dim=-1) + photograph * functional.normalize(seen, dim=-1)
        presence = self.reader.presence(objects).sigmoid() * (1 - photograph[:, None])
        return functional.normalize(mixed, dim=-1), photograph * seen, presence * objects

    def classified(self, coarse: torch.Tensor) -> torch.Tensor:
        """The map of stride 32 (B, C, h, w) -> the mean of the likeliest class names, weighted by their probabilities
        (B, E): its length says how sure the classifier is."""
        likeliest = self.trunk.classify(coarse.mean((2, 3))).softmax(-1).topk(LIKELIEST)
        return torch.einsum("bk,bke->be", likeliest.values, self.class_names[likeliest.indices])

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return self.text(texts)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Weights that are not those of a pretrained part."""
        return {name: value for name, value in self.state_dict().items() if name.split(".")[0] not in ("trunk", "text")}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and, in half precision, what was trained."""
        weights = {
            name: (value.half() if value.is_floating_point() else value).contiguous()
            for name, value in self.trained_state().items()
        }
        self.write(Path(folder), asdict(self.config), weights)

    @classmethod
    def from_parts(cls, config: TrunkEncoderConfig) -> Self:
        """An untrained encoder on pretrained parts. PartMissing says how to get them."""
        trunk = EfficientNetLite.from_pretrained(part_folder(config.trunk))
        return cls(config, trunk, SentenceEncoder.from_pretrained(part_folder(config.text)))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        folder = Path(folder)
        values: dict[str, Any] = {name: value for name, value in read_config(folder).items() if name != "class"}
        where = str(folder / CONFIG_FILE)
        encoder = cls.from_parts(read_settings(TrunkEncoderConfig, values, where))
        weights = read_state(folder / WEIGHTS_FILE)
        check_state(weights, encoder.trained_state(), str(folder / WEIGHTS_FILE))
        encoder.load_state_dict(weights, strict=False)
        encoder.identity = hash_file(folder / WEIGHTS_FILE)
        return encoder.eval()
