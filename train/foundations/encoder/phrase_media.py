"""Media of the world of things as the towers of an encoder take them: made once, kept, disturbed anew at each view.

Shapes: B media, L phrases, E width of the shared space; a tower's own letters are in ``encoders.towers``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from data import toybox
from data.things.motion import VideoScene
from data.things.motion_rendering import render_video
from data.things.sounds.kinds import kinds
from data.things.sounds.scenes import MOST, SoundScene
from encoders.towers import AudioTowerConfig
from encoders.trunk_encoder import TrunkEncoder
from train.embeddings.array_files import cached
from train.foundations.encoder.image_reader import disturbed
from train.foundations.encoder.vocabulary import NAMED
from train.foundations.pools import EndlessDataset, content_hash
from train.worlds.things_world import MAKING, ThingsStream

#: Kinds of Toybox's media that look like something of this world.
_ALIKE = {"video": (), "audio": ("music", "tones"), "points": ("furniture", "assembly")}
#: Videos that a trunk reads at once.
BATCH = 4
WORDINGS = 2


@dataclass(frozen=True)
class ThingsMedia:
    """Medium i of a stream as a user might give it; ``outsiders`` is the share of those that show nothing of the world.

    What captions may leave unsaid though it can be heard, how often, is said in all of them.
    """

    stream: ThingsStream
    outsiders: float = 0.0

    def scene(self, index: int) -> Any:
        """None for an outsider."""
        rng = np.random.default_rng((self.stream.seed, index, 11))
        if rng.random() < self.outsiders:
            return None
        scene = self.stream.scene(index)
        if isinstance(scene, SoundScene) and not scene.count and kinds()[scene.kind].form in ("hits", "events"):
            return replace(scene, count=int(rng.integers(1, MOST[kinds()[scene.kind].form] + 1)))
        return scene

    def medium(self, index: int, frames: int = 0) -> np.ndarray:
        """``frames`` of a video."""
        scene = self.scene(index)
        if scene is None:
            return self._outsider(index)
        if not isinstance(scene, VideoScene):
            return MAKING[self.stream.modality].render(scene)
        side = int(np.random.default_rng((self.stream.seed, index, 12)).integers(96, 225))
        return np.stack(
            [  # the same light and noise in all of them
                disturbed(frame, np.random.default_rng((self.stream.seed, index, 13)))
                for frame in render_video(scene, side, frames)
            ]
        )

    def _outsider(self, index: int) -> np.ndarray:
        modality, number = self.stream.modality, index
        while toybox.out_of_distribution_kind(modality, self.stream.seed, number) in _ALIKE[modality]:
            number += 1_000_003
        return toybox.out_of_distribution_medium(modality, self.stream.seed, number)

    def caption(self, index: int, rng: np.random.Generator | None = None) -> str:
        """With first names, or with any of them where there is a generator; "" for an outsider."""
        scene, making = self.scene(index), MAKING[self.stream.modality]
        if scene is None or rng is None:
            return "" if scene is None else making.caption(scene)
        table = NAMED[self.stream.modality]()
        return making.caption(scene, lambda name: str(rng.choice(table[name].names["en"])))


@torch.no_grad()
def features_of(encoder: TrunkEncoder, media: ThingsMedia, rows: Iterable[int]) -> torch.Tensor:
    """What the encoder's tower takes of these media: (B, ...)."""
    modality = media.stream.modality
    frames = encoder.config.video.frames if encoder.config.video else 0
    arrays = [media.medium(row, frames) for row in rows]
    return encoder.features(modality, [encoder.preprocess(modality, array) for array in arrays])


@dataclass(eq=False)
class PooledMedia(EndlessDataset):
    """Item i: features of one of the first ``count`` media, disturbed; a caption in one of a few wordings; and the one
    whose phrases are meant."""

    media: ThingsMedia
    encoder: TrunkEncoder
    count: int
    cache_dir: str

    def __post_init__(self) -> None:
        stream, first = self.media.stream, range(min(BATCH, self.count))
        known = content_hash([features_of(self.encoder, self.media, first).half().numpy()])
        key = f"{stream.modality}-features-{stream.seed}-{self.count}-{self.media.outsiders}-{stream.key}-{known}"
        self.features = torch.from_numpy(cached(self.cache_dir, key, self.count, self._features))

    def _features(self) -> Iterator[np.ndarray]:
        for start in range(0, self.count, BATCH):
            rows = range(start, min(start + BATCH, self.count))
            yield from features_of(self.encoder, self.media, rows).half().numpy()

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, modality = index % self.count, self.media.stream.modality
        seed = self.media.stream.seed
        wording = np.random.default_rng((seed, row, index // self.count % WORDINGS, 14))
        disturb, features = DISTURBED[modality], self.features[row].float()
        return {
            "features": disturb(features, np.random.default_rng((seed, index, 15)), self.encoder),
            "caption": self.media.caption(row, wording),
            "said": self.media.caption(row),
        }


def _other_sound(energies: torch.Tensor, rng: np.random.Generator, encoder: TrunkEncoder) -> torch.Tensor:
    """A little louder or softer, earlier or later, in noise, with a band or a moment missing: (F, M)."""
    sizes = encoder.config.audio
    assert isinstance(sizes, AudioTowerConfig)
    logs = energies * sizes.deviation + sizes.mean + float(rng.uniform(-0.4, 0.4))  # 1.7 dB
    later = int(rng.integers(-3, 25))  # the first note stays
    logs = torch.roll(logs, later, 0)
    logs[slice(later) if later >= 0 else slice(later, None)] = sizes.floor
    colour = float(rng.uniform(-2, 2)) * torch.linspace(-1, 1, logs.shape[1])
    noise = float(rng.uniform(-16, -8)) + colour + 0.5 * torch.from_numpy(rng.standard_normal(logs.shape)).float()
    logs = torch.logaddexp(logs, noise)
    for axis, most in ((0, 12), (1, 8)):
        start, width = int(rng.integers(logs.shape[axis])), int(rng.integers(most + 1))
        logs.narrow(axis, start, min(width, logs.shape[axis] - start)).fill_(sizes.floor)
    return (logs.clamp_min(sizes.floor) - sizes.mean) / sizes.deviation


def _other_cloud(points: torch.Tensor, rng: np.random.Generator, encoder: TrunkEncoder) -> torch.Tensor:
    """Turned round the vertical axis, stretched, now and then mirrored, with noise and with points missing: (N, 3)."""
    turn = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]) @ np.diag(rng.uniform(0.8, 1.25, 3))
    matrix[:, 0] *= rng.choice((-1, 1))
    tilt = rng.uniform(-0.12, 0.12)
    matrix = matrix @ np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    points = points @ torch.from_numpy(matrix).float()
    points = points + rng.choice((0.0, 0.01, 0.02)) * torch.from_numpy(rng.standard_normal(points.shape)).float()
    kept = rng.permutation(len(points))[: int(len(points) * rng.uniform(0.6, 1))]
    points = points[torch.from_numpy(np.resize(kept, len(points)))]
    centred = points - points.mean(0)
    return centred / centred.norm(dim=-1).amax().clamp_min(1e-9)


def _noisy(features: torch.Tensor, rng: np.random.Generator, encoder: TrunkEncoder) -> torch.Tensor:
    """Videos were disturbed before a frozen reader read them; here some noise on what it read."""
    return features + 0.02 * torch.from_numpy(rng.standard_normal(features.shape)).float()


#: Modality -> how features are disturbed.
DISTURBED: dict[str, Callable[[torch.Tensor, np.random.Generator, TrunkEncoder], torch.Tensor]] = {
    "video": _noisy,
    "audio": _other_sound,
    "points": _other_cloud,
}
