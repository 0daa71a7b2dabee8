"""Scenes as media, and media that show nothing of the world: one function for all modalities.

From the latter a model learns to say that it does not know what something is. They are generated, and as unlike each
other as possible. Each modality has a module of ``out_of_distribution`` with its kinds.
"""

from collections.abc import Callable

import numpy as np

from data.toybox.audio.render import render_audio
from data.toybox.dialogues.speaker import MediaPart
from data.toybox.drawing.render import render_image, render_video
from data.toybox.out_of_distribution import audio, images, points, videos
from data.toybox.points.render import render_points
from data.toybox.world import Scene

RENDERERS: dict[str, Callable[..., np.ndarray]] = {
    "image": render_image,
    "video": render_video,
    "audio": render_audio,
    "points": render_points,
}
#: Kinds of media out of distribution by modality: name -> (maker, share). The shares of a modality add up to 1.
KINDS: dict[str, dict[str, tuple[Callable[..., np.ndarray], float]]] = {
    "image": images.KINDS,
    "video": videos.KINDS,
    "audio": audio.KINDS,
    "points": points.KINDS,
}


def render(scene: Scene, modality: str, size: int | None = None) -> np.ndarray:
    """``scene`` as a medium of ``modality``: image uint8 (size, size, 3), video uint8 (8, size, size, 3), audio float32
    (32000,), points float32 (256, 3).

    ``size`` is the side of images and videos in pixels, 128 where it is None.
    """
    if modality not in RENDERERS:
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(RENDERERS)}")
    sized = {"size": size} if size is not None and modality in ("image", "video") else {}
    return RENDERERS[modality](scene, **sized)


def render_medium(part: MediaPart) -> np.ndarray:
    """The medium of a dialogue's part: its scene, or the out-of-distribution medium that it names."""
    if part.scene is not None:
        return render(part.scene, part.modality)
    assert part.out_of_distribution is not None
    return out_of_distribution_medium(part.modality, *part.out_of_distribution)


def out_of_distribution_medium(modality: str, seed: int, index: int) -> np.ndarray:
    """Medium number ``index`` of the stream ``seed``, in the form that the world's renderers give.

    Image uint8 (128, 128, 3); video uint8 (8, 128, 128, 3); audio float32 (32000,); points float32 (256, 3).
    """
    return make(modality, out_of_distribution_kind(modality, seed, index), _generator(modality, seed, index, 1))


def out_of_distribution_kind(modality: str, seed: int, index: int) -> str:
    """Which of the :data:`KINDS` :func:`out_of_distribution_medium` makes for the same arguments."""
    if modality not in KINDS:
        raise ValueError(f"unknown modality {modality!r}: expected one of {', '.join(KINDS)}")
    names = tuple(KINDS[modality])
    shares = [share for _, share in KINDS[modality].values()]
    return names[int(_generator(modality, seed, index, 0).choice(len(names), p=shares))]


def make(modality: str, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A medium of one ``kind``, e.g. ``make("image", "photo", rng)``."""
    if kind not in KINDS[modality]:
        raise ValueError(f"unknown kind of {modality} {kind!r}: expected one of {', '.join(KINDS[modality])}")
    medium = KINDS[modality][kind][0](rng)
    if modality == "audio" and kind != "silence":
        return audio.recorded(medium, rng)
    return medium


def _generator(modality: str, seed: int, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, tuple(KINDS).index(modality), purpose, 0x0075))
