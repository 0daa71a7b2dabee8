"""Videos from outside the world: images from outside it panned, zoomed, turned, flickering, shaken or cut.

Each maker takes a generator and returns uint8 (8, 128, 128, 3).
"""

import numpy as np
from PIL import Image

from data.toybox.out_of_distribution.images import KINDS as IMAGES
from data.toybox.out_of_distribution.photos import fractal

FRAMES, SIZE = 8, 128
_TIME = np.linspace(0, 1, FRAMES)


def still(rng: np.random.Generator) -> np.ndarray:
    """One image throughout, at times with the grain of a camera."""
    frames = np.repeat(_image(rng)[None], FRAMES, 0)
    if rng.random() < 0.5:
        return frames
    grain = rng.standard_normal(frames.shape, dtype=np.float32) * rng.uniform(1, 12)
    return np.clip(frames + grain, 0, 255).astype(np.uint8)


def travelling(rng: np.random.Generator) -> np.ndarray:
    """A window that pans and zooms over a larger image, smoothly or in a shaky hand."""
    image = Image.fromarray(_image(rng, int(SIZE * 1.5)))
    first, last = rng.uniform(0.45, 1.0, 2)
    extent = np.linspace(first, last, FRAMES) * image.width
    shake = rng.choice((0, 0.01, 0.03))
    start, end = rng.uniform(0, 1, (2, 2))
    places = np.linspace(start, end, FRAMES) + rng.normal(0, shake, (FRAMES, 2))
    corners = np.clip(places, 0, 1) * (image.width - extent[:, None])
    frames = [
        image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, (x, y, x + wide, y + wide))
        for (x, y), wide in zip(corners, extent, strict=True)
    ]
    return np.stack([np.asarray(frame) for frame in frames])


def turning(rng: np.random.Generator) -> np.ndarray:
    """An image that turns about its middle."""
    side = int(SIZE * 1.42) + 2
    image, edge = Image.fromarray(_image(rng, side)), (side - SIZE) // 2
    angles = rng.uniform(0, 360) + _TIME * rng.uniform(-300, 300)
    box = (edge, edge, edge + SIZE, edge + SIZE)
    return np.stack([np.asarray(image.rotate(angle, Image.Resampling.BILINEAR).crop(box)) for angle in angles])


def passing(rng: np.random.Generator) -> np.ndarray:
    """A wavy patch of one image that travels across another one, in a way no motion of the world does."""
    ground, patch = _image(rng).astype(np.float32), _image(rng).astype(np.float32)
    shape = fractal(rng, SIZE, 2.2)
    mask = np.clip((shape - rng.uniform(0.2, 1.2)) * 8, 0, 1)[..., None]
    legs = np.cumsum(rng.normal(0, rng.uniform(2, 25), (FRAMES, 2)), 0).astype(int)
    frames = []
    for down, right in legs:
        moved = np.roll(mask, (down, right), (0, 1))
        frames.append(ground * (1 - moved) + np.roll(patch, (down, right), (0, 1)) * moved)
    return np.stack(frames).astype(np.uint8)


def flicker(rng: np.random.Generator) -> np.ndarray:
    """An image whose light wanders or flashes."""
    light = rng.uniform(0.1, 1.6, FRAMES) if rng.random() < 0.5 else 1 + rng.uniform(-0.7, 0.7) * np.sin(6.3 * _TIME)
    return np.clip(_image(rng) * light[:, None, None, None], 0, 255).astype(np.uint8)


def static(rng: np.random.Generator) -> np.ndarray:
    """Fresh noise in every frame, as on a screen without a signal, over grey or over an image."""
    cells = int(rng.choice((16, 32, 64, 128)))
    channels = int(rng.choice((1, 3)))
    grains = rng.standard_normal((FRAMES, cells, cells, channels), dtype=np.float32) * rng.uniform(20, 110)
    grains = grains.repeat(SIZE // cells, 1).repeat(SIZE // cells, 2)
    ground = 128.0 if rng.random() < 0.6 else _image(rng)
    return np.clip(np.broadcast_to(grains + ground, (FRAMES, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def cuts(rng: np.random.Generator) -> np.ndarray:
    """Two to four different images after one another, cut or dissolved."""
    images = np.stack([_image(rng) for _ in range(int(rng.integers(2, 5)))]).astype(np.float32)
    place = _TIME * (len(images) - 1)
    place = np.round(place) if rng.random() < 0.6 else place
    first = np.minimum(place.astype(int), len(images) - 2)
    share = (place - first)[:, None, None, None]
    return (images[first] * (1 - share) + images[first + 1] * share).astype(np.uint8)


def flowing(rng: np.random.Generator) -> np.ndarray:
    """A texture that boils and drifts, as smoke, water or leaves do."""
    first, second = _image(rng).astype(np.float32), _image(rng).astype(np.float32)
    down, right = rng.integers(-9, 10, 2)
    frames = []
    for frame, time in enumerate(_TIME):
        shift = (int(frame * down), int(frame * right))
        one, other = np.roll(first, shift, (0, 1)), np.roll(second, shift[::-1], (0, 1))
        frames.append(one + (other - one) * np.sin(time * np.pi / 2) ** 2)
    return np.stack(frames).astype(np.uint8)


KINDS = {
    "still": (still, 0.16), "travelling": (travelling, 0.3), "turning": (turning, 0.1), "passing": (passing, 0.14),
    "flicker": (flicker, 0.06), "static": (static, 0.06), "cuts": (cuts, 0.1), "flowing": (flowing, 0.08),
}  # fmt: skip
"""Maker and share of each kind of video."""


def _image(rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """An image of ``size``, of any kind in its share."""
    makers, shares = zip(*IMAGES.values(), strict=True)
    return makers[int(rng.choice(len(makers), p=shares))](rng, size)
