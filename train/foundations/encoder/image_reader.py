"""Trains how an encoder over a frozen classifier reads images, on the world of things, whose scenes are exactly known.

Two losses: InfoNCE between an image and its caption (ImageBind's), and a set loss of the things in it (DETR,
2005.12872): each is given to the query that fits it best, and that query is to tell its name, colour and box.
Shapes: B images, N things at most, Q queries, E width of the shared space, K names.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn
from torch.nn import functional

from data import things, toybox
from data.things.captions import any_name
from data.things.scenes import MOST
from encoders.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from train.embeddings.array_files import cached
from train.foundations.components import weights_hash, write_component
from train.foundations.encoder.vocabulary import give_words
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, EndlessDataset, content_hash
from train.settings import setting
from train.task import Task

COLOURS = list(things.COLOURS)
#: Images that the trunk reads at once: more no longer fit into a processor's cache, and take twice as long each.
BATCH = 8


@dataclass(frozen=True)
class ImageReaderSettings:
    """Settings of :class:`ImageReaderTask`."""

    start: str = setting("", help="folder in the model folder of an encoder to go on from; none = a new one")
    seed: int = setting(TRAIN_SEED, low=0, help="of the stream of scenes")
    outsiders: float = setting(0.15, low=0, below=1, help="share of images that are photographs, real or made up")
    photographs: str = setting("", help="folder of photographs for those; none = all are made up")
    pool: int = setting(24576, low=1, help="images whose feature maps are kept: 0.19 MB each")
    cache_dir: str = ".cache/pools"
    box_weight: float = setting(3.0, low=0)
    colour_weight: float = setting(0.5, low=0)
    held_out: int = setting(256, low=1, help="scenes that evaluate() uses")


class ImageReaderTask(Task):
    """Trains the reader of a :class:`TrunkEncoder`; trunk and sentence encoder are frozen."""

    Settings = ImageReaderSettings
    settings: ImageReaderSettings
    model: "ReaderObjective"
    part = "reader"

    def build(self) -> None:
        chosen = self.settings
        if chosen.start:
            encoder = TrunkEncoder.from_pretrained(self.model_dir / chosen.start)
        else:
            encoder = TrunkEncoder.from_parts(TrunkEncoderConfig())
        self.encoder = encoder
        self.model = ReaderObjective(encoder, chosen)
        folder = Path(chosen.photographs)
        found = sorted(path for path in folder.iterdir() if path.is_file()) if chosen.photographs else []
        photographs = [np.asarray(Image.open(path).convert("RGB")) for path in found]
        images = SceneImages(chosen.seed, chosen.outsiders, photographs)
        self.dataset = PooledPatches(images, encoder, chosen.pool, chosen.cache_dir)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"reader": [*self.encoder.reader.parameters(), *self.encoder.photograph.parameters(), self.model.scale]}

    def collate(self, items: list[dict]) -> dict:
        return {
            "captions": self.encoder.text([item.pop("caption") for item in items]),
            **{name: torch.stack([item[name] for item in items]) for name in items[0]},
        }

    def writes(self) -> str:
        return "encoder"

    def export(self, model_dir: Path) -> None:
        """Write ``encoder``, with the words for what it reads."""
        give_words(self.encoder, "image")
        write_component(self.encoder, Path(model_dir) / "encoder")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On unseen scenes, of the things in them: found under the right name, of these in the right colour and with a
        box that overlaps by half; scenes with the right number of things; chance of an outsider to be one."""
        counts = {name: [0, 0] for name in ("name", "colour", "box", "number", "held_out_name")}
        for held_out in (False, True):
            kind = "held_out" if held_out else "train"
            for first in range(0, self.settings.held_out, 32):
                scenes = [
                    things.sample(HELD_OUT_SEED, first + offset, things=kind, pairs="all") for offset in range(32)
                ]
                self._score(scenes, counts, held_out)
        return {name: right / max(of, 1) for name, (right, of) in counts.items()}

    def _score(self, scenes: list[things.Scene], counts: dict[str, list[int]], held_out: bool) -> None:
        encoder = self.encoder.eval()
        _, objects = encoder.reader(patches_of(encoder, [things.render_image(scene) for scene in scenes]))
        read = encoder.reader.read(objects)
        for row, scene in enumerate(scenes):
            names, colours, boxes = targets(scene)
            shown = {name: value[row : row + 1] for name, value in read.items()}
            count = len(scene.placed)
            table = self.model.names
            query = match(shown, names[None], boxes[None], table)[0][:count]
            found = (shown["name"][0, query] @ table.T).argmax(-1)
            right = found == names[:count]
            _count(counts["held_out_name" if held_out else "name"], right)
            if held_out:
                continue
            known = colours[:count] >= 0
            _count(counts["colour"], (shown["colour"][0, query].argmax(-1) == colours[:count])[known])
            _count(counts["box"], overlap(shown["box"][0, query], boxes[:count]) > 0.5)
            _count(counts["number"], ((shown["presence"][0] > 0).sum() == count)[None])


def _count(counts: list[int], right: torch.Tensor) -> None:
    counts[0] += int(right.sum())
    counts[1] += right.numel()


@torch.no_grad()
def patches_of(encoder: TrunkEncoder, images: Sequence[np.ndarray]) -> torch.Tensor:
    """What the trunk's maps say of images uint8 (H, W, 3): (B, P, channels)."""
    pixels = torch.stack([encoder.trunk.preprocess(image) for image in images])
    return encoder.reader.patches(encoder.trunk.features(pixels))


@dataclass(frozen=True)
class SceneImages:
    """Image i of a stream: a scene of things, disturbed, or an outsider."""

    seed: int
    outsiders: float
    photographs: list[np.ndarray]

    def scene(self, index: int) -> things.Scene | None:
        """None for an outsider."""
        outside = np.random.default_rng((self.seed, index, 5)).random() < self.outsiders
        return None if outside else things.sample(self.seed, index)

    def image(self, index: int) -> np.ndarray:
        rng, scene = np.random.default_rng((self.seed, index, 6)), self.scene(index)
        if scene is None:
            return outsider(rng, self.photographs)
        return disturbed(things.render_image(scene, int(rng.integers(96, 225))), rng)


@dataclass(eq=False)
class PooledPatches(EndlessDataset):
    """Item i: patches of one of the first ``count`` images, a caption of it in one of many wordings, what is where."""

    images: SceneImages
    encoder: TrunkEncoder
    count: int
    cache_dir: str

    def __post_init__(self) -> None:
        first = [self.images.image(index) for index in range(min(BATCH, self.count))]
        key = f"trunk-patches-{self.images.seed}-{self.count}-{weights_hash(self.encoder.trunk)}-{content_hash(first)}"
        self.patches = torch.from_numpy(cached(self.cache_dir, key, self.count, self._patches))

    def _patches(self) -> Iterator[np.ndarray]:
        for start in range(0, self.count, BATCH):
            images = [self.images.image(index) for index in range(start, min(start + BATCH, self.count))]
            yield from patches_of(self.encoder, images).half().numpy()

    def __getitem__(self, index: int) -> dict:
        row = index % self.count
        scene, rng = self.images.scene(row), np.random.default_rng((self.images.seed, index, 7))
        names, colours, boxes = targets(scene)
        return {
            **{"patches": self.patches[row].float(), "names": names, "colours": colours, "boxes": boxes},
            **{"caption": things.caption(scene, any_name(rng)) if scene else "a photograph"},
            **{"outsider": torch.tensor(float(scene is None))},
        }


def targets(scene: things.Scene | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the things in a scene: rows of their names and of their colours, -1 where there is none or it is their own,
    int64 (N,), and boxes (N, 4) centre and size, filled up to N = MOST."""
    names, colours = torch.full((MOST,), -1), torch.full((MOST,), -1)
    boxes = torch.zeros(MOST, 4)
    if scene is None:
        return names, colours, boxes
    order = {name: row for row, name in enumerate(things.catalogue())}
    for row, (placed, box) in enumerate(zip(scene.placed, things.centred_boxes(scene), strict=True)):
        names[row] = order[placed.thing]
        colours[row] = COLOURS.index(placed.colour) if placed.colour else -1
        boxes[row] = torch.tensor(box)
    return names, colours, boxes


def disturbed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another brightness, contrast and sharpness, and JPEG now and then: media come from everywhere."""
    pixels = (image.astype(np.float32) - 128) * rng.uniform(0.8, 1.15) + 128 + rng.uniform(-14, 14)
    pixels += rng.normal(0, rng.choice((0.0, 0.0, 3.0, 7.0)), pixels.shape)
    image = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2)))))
    return image


def outsider(rng: np.random.Generator, photographs: list[np.ndarray]) -> np.ndarray:
    """A piece of a photograph, turned and in another light, or an image of Toybox's that shows no thing."""
    if not photographs or rng.random() < 0.4:
        return toybox.out_of_distribution_medium("image", TRAIN_SEED, int(rng.integers(2**31)))
    whole = photographs[int(rng.integers(len(photographs)))]
    side = int(min(whole.shape[:2]) * rng.uniform(0.2, 1.0))
    top, left = (int(rng.integers(whole.shape[axis] - side + 1)) for axis in (0, 1))
    piece = np.rot90(whole[top : top + side, left : left + side], int(rng.choice((0, 0, 0, 1, 2, 3))))
    piece = piece[:, ::-1] if rng.random() < 0.5 else piece
    image = Image.fromarray(np.ascontiguousarray(piece)).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.float32) * rng.uniform(0.7, 1.2, 3)
    return disturbed(np.clip(pixels, 0, 255).astype(np.uint8), rng)


@cache
def _assignments(things_shown: int, queries: int) -> torch.Tensor:
    """All ways of giving each of the things a query of its own: int64 (ways, things)."""
    return torch.tensor(list(itertools.permutations(range(queries), things_shown)))


@torch.no_grad()
def match(read: dict[str, torch.Tensor], names: torch.Tensor, boxes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """The best query of each thing: int64 (B, N), -1 where there is no thing. ``table`` (K, E) embeds the names."""
    chance = (read["name"] @ table.T * 10).softmax(-1)  # (B, Q, K)
    found = torch.full_like(names, -1)
    for row, own in enumerate(names):
        count = int((own >= 0).sum())
        if count:
            distance = (read["box"][row][None] - boxes[row, :count, None]).abs().sum(-1)  # (N, Q)
            cost = 2 * distance - chance[row][:, own[:count]].T - read["presence"][row].sigmoid()
            ways = _assignments(count, cost.shape[1])
            found[row, :count] = ways[cost[torch.arange(count), ways].sum(-1).argmin()]
    return found


def overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (..., 4), centre and size."""
    low = torch.maximum(first[..., :2] - first[..., 2:] / 2, second[..., :2] - second[..., 2:] / 2)
    high = torch.minimum(first[..., :2] + first[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2)
    shared = (high - low).clamp_min(0).prod(-1)
    return shared / (first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared).clamp_min(1e-6)


def contrast(media: torch.Tensor, captions: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """InfoNCE of unit vectors (B, E) in both directions, ``scale`` the logarithm of what multiplies their similarity;
    captions that are nearly the same are no negatives for each other."""
    logits = media @ captions.T * scale.exp().clamp_max(50)
    same = (captions @ captions.T > 0.95) & ~torch.eye(len(captions), dtype=torch.bool)
    logits = logits.masked_fill(same, torch.finfo(logits.dtype).min)
    rows = torch.arange(len(media))
    return (functional.cross_entropy(logits, rows) + functional.cross_entropy(logits.T, rows)) / 2


class ReaderObjective(nn.Module):
    """The reader and its losses; weights as in :class:`ImageReaderSettings`."""

    def __init__(self, encoder: TrunkEncoder, weights: ImageReaderSettings) -> None:
        super().__init__()
        self.encoder, self.weights = encoder, weights
        self.scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.register_buffer("names", encoder.text(list(things.catalogue())), persistent=False)  # (K, E)
        self.names: torch.Tensor

    def forward(self, patches, captions, names, colours, boxes, outsider) -> dict[str, torch.Tensor]:
        """patches (B, P, channels), captions (B, E), things as :func:`targets` gives them, outsider (B,)."""
        whole, objects = self.encoder.reader(patches)
        read = {name: value.float() for name, value in self.encoder.reader.read(objects).items()}
        shown = outsider == 0
        images = functional.normalize(whole.float(), dim=-1)
        photograph = functional.binary_cross_entropy_with_logits(self.encoder.photograph(whole)[:, 0], outsider)
        parts = {
            "contrast": contrast(images[shown], captions[shown], self.scale),
            "photograph": photograph,
        } | self.set_loss(read, names, colours, boxes)
        weights = {"box": self.weights.box_weight, "colour": self.weights.colour_weight}
        loss = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def set_loss(self, read, names, colours, boxes) -> dict[str, torch.Tensor]:
        """The losses of the things that were matched with queries, and of whether a query has one."""
        queries = match(read, names, boxes, self.names)
        there = queries >= 0
        rows, own = there.nonzero()[:, 0], queries[there]
        presence = torch.zeros_like(read["presence"])
        presence[rows, own] = 1.0
        logits = read["name"][rows, own] @ self.names.T * 16
        known = colours[there] >= 0
        found = read["box"][rows, own]
        return {
            "name": functional.cross_entropy(logits, names[there]),
            "colour": functional.cross_entropy(read["colour"][rows, own][known], colours[there][known]),
            "box": (found - boxes[there]).abs().sum(-1).mean() + (1 - overlap(found, boxes[there])).mean(),
            "presence": 4 * functional.binary_cross_entropy_with_logits(read["presence"], presence),
        }
