"""Point clouds of 3D models: drawn from a seed, with the name of what they show."""

from dataclasses import dataclass

import numpy as np

from data.things.captions import Naming
from data.things.points.bank import clouds, unit_cloud
from data.things.points.kinds import model_kinds
from data.things.words import with_article

#: Points of a cloud, if nothing else is asked for.
COUNT = 2048
#: How much a cloud is stretched along each axis, and the deviation of the noise on its points (the farthest is at 1).
_STRETCH, _NOISE = 0.12, 0.006


@dataclass(frozen=True)
class PointScene:
    """What a point cloud shows: a model (its file) of a kind. ``jitter`` seeds how it is turned, stretched, noisy."""

    kind: str
    model: str
    jitter: int


def sample(seed: int, index: int, models: str = "train", kind: str = "") -> PointScene:
    """Cloud number ``index`` of the stream ``seed``; it depends on these alone.

    ``models`` is "train" or "held_out" (models that training never sees); KeyError for others. ``kind`` chooses one,
    "" draws it.
    """
    rng = np.random.default_rng((seed, index, 0x3D))
    pools = {name: {"train": entry.models, "held_out": entry.held_out}[models] for name, entry in model_kinds().items()}
    kind = kind or str(rng.choice([name for name, pool in pools.items() if pool]))
    return PointScene(kind, str(rng.choice(pools[kind])), int(rng.integers(2**31)))


def first_name(kind: str) -> str:
    """The usual English name, with "some" where it takes no article."""
    return model_kinds()[kind].names["en"][0]


def caption(scene: PointScene, naming: Naming = first_name) -> str:
    """ "a chair"."""
    return with_article(naming(scene.kind))


def render_points(scene: PointScene, count: int = COUNT) -> np.ndarray:
    """float32 (count, 3), count at most 4,096, z up, its box centred, the farthest point at 1.

    BankMissing where the bank of models is not there.
    """
    rng = np.random.default_rng((scene.jitter, 0x3D))
    dense = clouds()[scene.model]
    points = dense[rng.permutation(len(dense))[:count]].astype(np.float32)
    points = points * rng.uniform(1 - _STRETCH, 1 + _STRETCH, 3)
    turn = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(turn), np.sin(turn)
    points = points @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    return unit_cloud(points + rng.normal(0, _NOISE, points.shape))
