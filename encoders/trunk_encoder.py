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
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from data.atomic import atomic_file, write_json
from data.hashes import kept_hash
from data.parts import part_folder
from data.strict import read_json, read_settings, setting
from encoders.base import CONFIG_FILE, WEIGHTS_FILE, Batch, Encoder, check_state, read_config, read_state, stacked
from encoders.description import (
    MOST_CLASSES,
    Found,
    Vocabulary,
    describe_classes,
    describe_phrases,
    describe_things,
    word,
)
from encoders.efficientnet import EfficientNetLite
from encoders.image_reader import ImageReader, ReaderConfig
from encoders.lexicon import Lexicon
from encoders.sentence_encoder import SentenceEncoder
from encoders.towers import TOWERS, AudioTowerConfig, PointsTowerConfig, Tower, VideoTowerConfig

#: Images, or frames of a video, whose maps are remembered, at most.
REMEMBERED = 16
#: How many of the classifier's names make an embedding.
LIKELIEST = 10
#: Beside the configuration: what is read by name.
VOCABULARY_FILE, VECTORS_FILE = "vocabulary.json", "vocabulary.safetensors"
#: What of its state are vectors of words.
NAMES = ("class_names", "lexicons")


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
        self.register_buffer("class_names", torch.zeros(len(trunk.classes), self.width))
        self.class_names: torch.Tensor  # (1000, E)
        self.lexicons = nn.ModuleDict()
        self._seen: tuple[torch.Tensor, dict[int, torch.Tensor]] | None = None

    def add_tower(self, modality: str, tower: Tower) -> None:
        """Read media of this modality with this tower, whichever did so before."""
        self.towers[modality] = tower
        self.config = replace(self.config, **{modality: tower.config})
        self.modalities = ("image", *self.towers)

    def add_words(self, modality: str, vocabulary: Vocabulary, vectors: dict[str, torch.Tensor] | None = None) -> None:
        """Name what is read in media of this modality by these phrases; ``vectors`` as :class:`Lexicon` has them."""
        self.lexicons[modality] = lexicon = Lexicon(vocabulary, self.width)
        if vectors is not None:
            lexicon.load_state_dict(vectors)

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
        maps = self._maps(media.flatten(0, 1))
        whole, objects = self.reader(self.reader.patches(maps))
        seen = torch.cat((functional.normalize(whole, dim=-1)[:, None], objects), dim=1)
        changed = tower.changed(maps[16].unflatten(0, media.shape[:2]))
        return torch.cat((seen.flatten(1).unflatten(0, media.shape[:2]), changed), dim=-1)

    @torch.no_grad()
    def describe(self, modality: str, batch: Batch, language: str = "en") -> list[str]:
        self.check_modality(modality)
        if modality not in self.lexicons:
            return [""] * len(batch)
        if modality == "image":
            return [self._describe_image(pixels, language) for pixels in stacked(batch)]
        tower: Any = self.towers[modality]
        _, phrases, presence = tower(self.features(modality, batch))
        lexicon: Any = self.lexicons[modality]
        named = [lexicon.phrases(*each, language) for each in zip(phrases, presence, strict=True)]
        return [describe_phrases(each, language) for each in named]

    def _describe_image(self, pixels: torch.Tensor, language: str) -> str:
        """Pixels (3, H, W) of a photograph by the classifier's classes, of other images by the things that are seen."""
        maps = self._maps(pixels[None])
        whole, objects = self.reader(self.reader.patches(maps))
        if self.photograph(whole).item() > 0:
            likeliest = self.trunk.classify(maps[32].mean((2, 3))).softmax(-1)[0].topk(MOST_CLASSES)
            pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
            return describe_classes(
                [(self.trunk.classes[number], probability) for number, probability in pairs], language
            )
        lexicon: Any = self.lexicons["image"]
        read = {name: values[0] for name, values in self.reader.read(objects).items()}
        present = (read["presence"] > 0).nonzero()[:, 0].tolist()
        present.sort(key=lambda query: read["box"][query, 0].item())  # from left to right
        background = self._background(lexicon, [lexicon.found(read, query, "en") for query in present], whole, language)
        return describe_things([lexicon.found(read, query, language) for query in present], background, language)

    def _background(self, lexicon: Lexicon, found: list[Found], whole: torch.Tensor, language: str) -> str:
        """Where it all is, or "": the nearest caption of what was found, with each background and without."""
        vocabulary = lexicon.vocabulary
        if not found or not vocabulary.backgrounds:
            return ""
        things = " and ".join(" ".join(filter(None, (each.colour, each.name))) for each in found)
        captions = [things, *(f"{things}, {background['en']}" for background in vocabulary.backgrounds)]
        nearest = int((self.text(captions) @ functional.normalize(whole[0], dim=-1)).argmax())
        return word(vocabulary.backgrounds[nearest - 1], language) if nearest else ""

    @torch.no_grad()
    def see(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Preprocessed images (B, 3, H, W) -> embeddings (B, E), unit; what the classifier sees (B, E), as long as it
        is sure; object tokens (B, Q, E), each as long as it is sure that something is there."""
        maps = self._maps(pixels)
        whole, objects = self.reader(self.reader.patches(maps))
        photograph = self.photograph(whole).sigmoid()  # (B, 1)
        seen = self.classified(maps[32])
        mixed = (1 - photograph) * functional.normalize(whole, dim=-1) + photograph * functional.normalize(seen, dim=-1)
        presence = self.reader.presence(objects).sigmoid() * (1 - photograph[:, None])
        return functional.normalize(mixed, dim=-1), photograph * seen, presence * objects

    def _maps(self, pixels: torch.Tensor) -> dict[int, torch.Tensor]:
        """The frozen trunk's maps of images (B, 3, H, W). Those of the last few are remembered: in a chat a medium is
        put into words and embedded, one after the other."""
        if self._seen is not None:
            seen, maps = self._seen
            if seen.shape == pixels.shape and seen.device == pixels.device and torch.equal(seen, pixels):
                return maps
        maps = self.trunk.features(pixels)
        if len(pixels) <= REMEMBERED:
            self._seen = pixels.clone(), maps
        return maps

    def classified(self, coarse: torch.Tensor) -> torch.Tensor:
        """The map of stride 32 (B, C, h, w) -> the mean of the likeliest class names, weighted by their probabilities
        (B, E): its length says how sure the classifier is."""
        likeliest = self.trunk.classify(coarse.mean((2, 3))).softmax(-1).topk(LIKELIEST)
        return torch.einsum("bk,bke->be", likeliest.values, self.class_names[likeliest.indices])

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return self.text(texts)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Weights that are neither those of a pretrained part nor what it makes of words."""
        others = ("trunk", "text", *NAMES)
        return {name: value for name, value in self.state_dict().items() if name.split(".")[0] not in others}

    def _vectors(self) -> dict[str, torch.Tensor]:
        """What the sentence encoder makes of the words by which it names what it reads."""
        return {name: value for name, value in self.state_dict().items() if name.split(".")[0] in NAMES}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and, in half precision, what was trained; the words for what is read and their vectors
        beside it."""
        folder = Path(folder)
        found: Any = self.lexicons.items()
        words: dict[str, Any] = {modality: asdict(lexicon.vocabulary) for modality, lexicon in found}
        write_json(folder / VOCABULARY_FILE, words)
        with atomic_file(folder / VECTORS_FILE) as temporary:
            save_file(_halved(self._vectors()), temporary)
        self.write(folder, asdict(self.config), _halved(self.trained_state()))

    @classmethod
    def from_parts(cls, config: TrunkEncoderConfig) -> Self:
        """An untrained encoder on pretrained parts. PartMissing says how to get them."""
        encoder = cls._unnamed(config)
        encoder.class_names = encoder.text(encoder.trunk.classes)
        return encoder

    @classmethod
    def _unnamed(cls, config: TrunkEncoderConfig) -> Self:
        """As :meth:`from_parts`, without the vectors of the classes' names."""
        trunk = EfficientNetLite.from_pretrained(part_folder(config.trunk))
        return cls(config, trunk, SentenceEncoder.from_pretrained(part_folder(config.text)))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        folder = Path(folder)
        values: dict[str, Any] = {name: value for name, value in read_config(folder).items() if name != "class"}
        where = str(folder / CONFIG_FILE)
        encoder = cls._unnamed(read_settings(TrunkEncoderConfig, values, where))
        path = folder / VOCABULARY_FILE
        for modality, words in (read_json(path) if path.is_file() else {}).items():
            encoder.add_words(modality, read_settings(Vocabulary, words, f"{path}: {modality}"))
        files = [(WEIGHTS_FILE, encoder.trained_state())]
        if encoder.lexicons or (folder / VECTORS_FILE).is_file():
            files.append((VECTORS_FILE, encoder._vectors()))
        else:
            encoder.class_names = encoder.text(encoder.trunk.classes)
        for name, expected in files:
            weights = read_state(folder / name)
            check_state(weights, expected, str(folder / name))
            encoder.load_state_dict(weights, strict=False)
        encoder.identity = kept_hash(folder / WEIGHTS_FILE)
        return encoder.eval()


def _halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}
