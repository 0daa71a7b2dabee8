"""Images that have the statistics of photographs, though they show nothing: textures, blobs, light and a camera.

All functions take a generator and work on float32 (size, size) or (size, size, 3) in about 0 to 1.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def photo(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """An image like a photograph: a backdrop, one to six lit blobs with textures, twigs; uint8 (size, size, 3)."""
    scene = _backdrop(rng, size)
    if rng.random() < 0.5:
        scene = blurred(scene, rng.uniform(0.8, 4))
    if rng.random() < 0.4:
        scene = _with_subject(scene, rng)
    else:
        for _ in range(int(rng.integers(1, 6))):
            scene = _with_object(scene, rng, rng.uniform(-0.7, 0.7, 2), rng.uniform(0.12, 0.75))
    if rng.random() < 0.2:
        scene = _with_twigs(scene, rng)
    return camera(scene, rng)


def texture_close_up(rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Nothing but a natural texture, as of bark, sand, cloth or leaves; uint8 (size, size, 3)."""
    return camera(_textured(rng, size), rng)


def camera(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera does: exposure, colour cast, vignette, defocus, grain, compression. To uint8."""
    size = scene.shape[0]
    scene = 0.5 + (scene - 0.5) * rng.uniform(0.6, 1.4) + rng.uniform(-0.15, 0.15)
    scene = scene * rng.uniform(0.85, 1.12, 3)
    if rng.random() < 0.4:
        y, x = _grid(size)
        scene = scene * (1 - rng.uniform(0.1, 0.5) * (x**2 + y**2)[..., None])
    if rng.random() < 0.12:
        scene = np.repeat(scene.mean(2, keepdims=True), 3, 2)
    if rng.random() < 0.3:
        scene = blurred(scene, rng.uniform(0.4, 1.6))
    scene = scene + rng.choice((0.003, 0.01, 0.04)) * rng.standard_normal(scene.shape, dtype=np.float32)
    pixels = (np.clip(scene, 0, 1) * 255).astype(np.uint8)
    return compressed(pixels, rng) if rng.random() < 0.6 else pixels


def compressed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``pixels`` after a JPEG of quality 15 to 92."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(15, 93)))
    return np.asarray(Image.open(buffer).convert("RGB"))


def blurred(scene: np.ndarray, radius: float) -> np.ndarray:
    """``scene`` (size, size, 3) blurred by a Gaussian of ``radius`` pixels."""
    image = Image.fromarray((np.clip(scene, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def fractal(rng: np.random.Generator, size: int, slope: float, stretch: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Noise (size, size) whose amplitude falls as 1 / frequency**slope; mean 0, deviation 1.

    ``stretch`` lengthens its grain along the direction ``turn``, in radians: fur, wood, water.
    """
    down, right = _frequencies(size)
    along, across = right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)
    distance = np.sqrt((along * stretch) ** 2 + across**2)
    distance[0, 0] = np.inf
    drawn = rng.standard_normal((*distance.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    wave = np.fft.irfft2(drawn * (distance**-slope).astype(np.float32), (size, size))
    return ((wave - wave.mean()) / (wave.std() + 1e-9)).astype(np.float32)


def palette(rng: np.random.Generator, muted: float = 0.7) -> np.ndarray:
    """Two to five colours (n, 3) from dark to light, mostly of neighbouring hues and little saturation."""
    count = int(rng.integers(2, 6))
    base = rng.choice((0.06, 0.1, 0.25, 0.33, 0.55, 0.6)) if rng.random() < muted else rng.uniform()
    hue = base + rng.normal(0, 0.06, count) + (rng.random(count) < 0.15) * 0.5
    grey = rng.uniform(0, 1, count) ** (1.6 if rng.random() < muted else 0.5)
    light = np.sort(rng.uniform(0.02, 1.0, count) ** rng.uniform(0.4, 1.2))
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue[:, None] - np.array([0, 1 / 3, 2 / 3])))
    return light[:, None] * (1 - grey[:, None] * (1 - wheel))


def coloured(height: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """``height`` (size, size), about -1.5 to 1.5, through a palette (n, 3): (size, size, 3)."""
    places = np.linspace(0, 1, 256)
    stops = np.linspace(0, 1, len(colours))
    table = np.stack([np.interp(places, stops, channel) for channel in colours.T], -1).astype(np.float32)
    return table[np.clip((height + 1.5) * 85, 0, 255).astype(np.intp)]


def _textured(rng: np.random.Generator, size: int) -> np.ndarray:
    """A surface: grain, fur, spots, wavy stripes or a facade, in natural colours; (size, size, 3)."""
    kind = rng.choice(("grain", "fur", "spots", "stripes", "facade"), p=(0.45, 0.2, 0.12, 0.13, 0.1))
    turn = rng.uniform(0, np.pi)
    if kind == "grain":
        height = fractal(rng, size, rng.uniform(0.8, 2.6))
    elif kind == "fur":
        height = fractal(rng, size, rng.uniform(0.9, 1.8), rng.uniform(2, 8), turn)
    elif kind == "spots":
        band = fractal(rng, size, 0.6) - blurred_height(fractal(rng, size, 1.5))
        height = 2.2 * np.tanh(3 * (blurred_height(band, rng.uniform(1, 3)) - 0.1)) * 0.5
    elif kind == "stripes":
        y, x = _grid(size)
        waves = rng.uniform(6, 40) * (x * np.cos(turn) + y * np.sin(turn)) + rng.uniform(0, 3) * fractal(rng, size, 1.8)
        height = 1.2 * np.sin(waves) + 0.3 * fractal(rng, size, 1.2)
    else:
        height = _facade(rng, size)
    tint = rng.normal(0, 0.05, 3).astype(np.float32)
    return coloured(height, palette(rng)) + fractal(rng, size, 2)[..., None] * tint


def blurred_height(height: np.ndarray, radius: float = 2.0) -> np.ndarray:
    """``height`` (size, size) low-passed at about ``radius`` pixels, deviation 1."""
    down, right = _frequencies(height.shape[0])
    shape = np.exp(-2 * (np.pi * radius / height.shape[0]) ** 2 * (down**2 + right**2))
    smooth = np.fft.irfft2(np.fft.rfft2(height) * shape, height.shape)
    return (smooth / (smooth.std() + 1e-9)).astype(np.float32)


def _facade(rng: np.random.Generator, size: int) -> np.ndarray:
    """Rows of windows or bricks."""
    y, x = _grid(size)
    across, down = rng.uniform(3, 14, 2)
    windows = (np.modf(np.abs(x + 1.2) * across)[0] < rng.uniform(0.3, 0.85)) & (
        np.modf(np.abs(y + 1.2) * down)[0] < rng.uniform(0.3, 0.85)
    )
    return 1.6 * (windows - 0.5) * rng.choice((-1, 1)) + 0.25 * fractal(rng, size, 1.3)


def _backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """A texture, a plain wall, or a sky over a ground."""
    kind = rng.choice(("texture", "plain", "wall", "horizon"), p=(0.3, 0.1, 0.2, 0.4))
    if kind == "texture":
        return _textured(rng, size)
    if kind == "plain":
        return np.full((size, size, 3), rng.choice((0.02, 0.5, 1.0, 1.0)), np.float32)
    y, x = _grid(size)
    turn = rng.uniform(0, 2 * np.pi)
    soft = coloured(1.4 * (x * np.cos(turn) + y * np.sin(turn)) + 0.3 * fractal(rng, size, 2.2), palette(rng))
    if kind == "wall":
        return soft
    sky = coloured(1.2 * y + rng.uniform(0, 0.9) * fractal(rng, size, 1.8), palette(rng))
    ridge = rng.uniform(-0.5, 0.6) + rng.uniform(0, 0.15) * fractal(rng, size, 1.6)[0]
    ground = (y > ridge[None, :]).astype(np.float32)[..., None]
    return sky * (1 - ground) + _textured(rng, size) * ground


def _with_subject(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``scene`` with one large solid near the middle and small ones upon it, as of a face, an animal or a house."""
    middle, reach = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.4, 0.75)
    scene = _with_object(scene, rng, middle, reach)
    for _ in range(int(rng.integers(1, 6))):
        scene = _with_object(scene, rng, middle + rng.normal(0, 0.45, 2) * reach, reach * rng.uniform(0.08, 0.45))
    return scene


def _with_object(scene: np.ndarray, rng: np.random.Generator, middle: np.ndarray, extent: float) -> np.ndarray:
    """``scene`` with one solid in it: a wavy blob or a polygon, textured and lit from one side."""
    size = scene.shape[0]
    y, x = _grid(size)
    reach = np.float32(extent)  # float32 throughout: the double would make every array double
    turn, narrow = rng.uniform(0, np.pi), rng.uniform(0.35, 1.0)
    dx, dy = x - np.float32(middle[0]), y - np.float32(middle[1])
    along, across = dx * np.cos(turn) + dy * np.sin(turn), (dy * np.cos(turn) - dx * np.sin(turn)) / narrow
    angle = np.arctan2(across, along)
    if rng.random() < 0.65:
        around = np.linspace(-np.pi, np.pi, 257)
        waves = sum(rng.normal(0, 0.22 / k) * np.cos(k * around + rng.uniform(0, 6.3)) for k in range(1, 8))
        edge = (reach * np.exp(waves)).astype(np.float32)[((angle + np.pi) * (128 / np.pi)).astype(np.intp)]
    else:
        corners = int(rng.integers(3, 8))
        edge = reach / np.cos(np.remainder(angle, 2 * np.pi / corners) - np.pi / corners)
    distance = np.sqrt(along**2 + across**2) / edge
    mask = np.clip((1 - distance) * reach * size / rng.choice((1.5, 3, 8)), 0, 1)[..., None]
    light = rng.uniform(0, 2 * np.pi)
    shade = 1 + (dx * np.cos(light) + dy * np.sin(light)) * (rng.uniform(0, 0.6) / reach)
    shade = shade * (1 - rng.uniform(0, 0.5) * np.clip(distance, 0, 1) ** 2)
    shadow = 1 - rng.uniform(0, 0.4) * np.clip(1.3 - distance, 0, 1)[..., None]
    return scene * shadow * (1 - mask) + _textured(rng, size) * np.clip(shade, 0.1, 1.7)[..., None] * mask


def _with_twigs(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``scene`` behind thin crooked lines: branches, wires, grass."""
    image = Image.fromarray((np.clip(scene, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    ink = tuple(int(value) for value in rng.integers(0, 110, 3))
    for _ in range(int(rng.integers(3, 25))):
        steps = rng.normal(0, 0.05, (8, 2)) + rng.normal(0, 0.08, 2)
        path = (rng.uniform(0, 1, 2) + np.cumsum(steps, 0)) * scene.shape[0]
        draw.line([tuple(point) for point in path], fill=ink, width=int(rng.integers(1, 4)))
    return np.asarray(image, np.float32) / 255


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns from -1 to 1, each (size, size)."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    rows, columns = np.meshgrid(line, line, indexing="ij")
    return rows, columns


@lru_cache(maxsize=4)
def _frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cycles a image downwards and to the right, for :func:`numpy.fft.irfft2`; each (size, size // 2 + 1)."""
    down, right = np.meshgrid(np.fft.fftfreq(size, 1 / size), np.arange(size // 2 + 1), indexing="ij")
    return down.astype(np.float32), right.astype(np.float32)
