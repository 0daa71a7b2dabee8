"""Media that show nothing of the world, so that a model can learn to say that it does not know what something is.

They are generated, and as unlike each other as possible. Each modality has a module of this package with its kinds.
"""

from collections.abc import Callable, Mapping

import numpy as np

from data.toybox.out_of_distribution import audio, images, points, videos

Maker = Callable[..., np.ndarray]

#: Kinds by modality: name -> (maker, share). The shares of a modality add up to 1.
KINDS: Mapping[str, Mapping[str, tuple[Maker, float]]] = {
    "image": images.KINDS,
    "video": videos.KINDS,
    "audio": audio.KINDS,
    "points": points.KINDS,
}


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
