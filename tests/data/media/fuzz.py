"""Mutated media files against the intake: each is read within the limits or refused in a sentence.

    python -m tests.data.media.fuzz FOLDER --files 10000 --seed 1

FOLDER holds intact media files. Each is also converted to the other formats of its modality, so that every reader is
tried. Prints what was read, what was refused and how, and exits with 1 where a file broke a promise; that file is kept.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image
from tqdm import tqdm

from data.media.decoding_pool import DecodingPool
from data.media.loading import UPLOAD_LIMITS, MediaError, load_medium
from tests.data.media.hostile_files import INTACT, intact_file
from tests.data.media.test_hostile_files import check_harmless

Content = bytearray
IMAGES = {".png": "PNG", ".jpg": "JPEG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".avif": "AVIF"}
#: Suffix, container and codec of sounds that FFmpeg writes.
SOUNDS = ((".mp3", "mp3", "libmp3lame"), (".opus", "ogg", "libopus"), (".m4a", "ipod", "aac"))
#: What a refusal may not hold: a trace, a line break, or what only a dying process says.
NO_SENTENCE = re.compile(r"Traceback|\n|0x[0-9a-f]{6,}|object at|Errno")


def flip(rng: np.random.Generator, content: Content) -> None:
    """Some bytes are others, more often near the start, where the headers are."""
    for _ in range(int(rng.integers(1, 12))):
        content[int(len(content) * rng.random() ** 3)] = int(rng.integers(256))


def set_number(rng: np.random.Generator, content: Content) -> None:
    """A number of 2, 4 or 8 bytes is an extreme one."""
    width = int(rng.choice([2, 4, 8]))
    at = int(max(0, len(content) - width) * rng.random() ** 3)
    value = int(rng.choice([0, 1, 2 ** (8 * width - 1) - 1])) if rng.random() < 0.6 else 2 ** (8 * width) - 1
    content[at : at + width] = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")


def cut_out(rng: np.random.Generator, content: Content) -> None:
    at = int(rng.integers(len(content)))
    del content[at : at + int(rng.integers(1, 1 + len(content) // 4))]


def repeat(rng: np.random.Generator, content: Content) -> None:
    at, width = int(rng.integers(len(content))), int(rng.integers(1, 1 + len(content) // 8))
    content[at:at] = content[at : at + width] * int(rng.integers(1, 40))


def insert(rng: np.random.Generator, content: Content) -> None:
    at = int(rng.integers(len(content)))
    content[at:at] = rng.bytes(int(rng.integers(1, 300)))


def end_early(rng: np.random.Generator, content: Content) -> None:
    del content[int(rng.integers(1, len(content))) :]


def zero(rng: np.random.Generator, content: Content) -> None:
    at, width = int(rng.integers(len(content))), int(rng.integers(1, 1 + len(content) // 4))
    content[at : at + width] = bytes(len(content[at : at + width]))


MUTATIONS: tuple[Callable[[np.random.Generator, Content], None], ...] = (
    *(flip, set_number, cut_out, repeat, insert, end_early, zero),
)


def intact_files(folder: Path) -> list[tuple[str, bytes]]:
    """(suffix, content) of the folder's media, of their conversions, and of a small file of every format."""
    found = [(suffix, intact_file(suffix)) for suffix in INTACT]
    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in (".jpg", ".png", ".wav", ".flac")):
        content = path.read_bytes()
        found.append((path.suffix.lower(), content))
        convert = converted_images if path.suffix.lower() in IMAGES else converted_sounds
        found += convert(content)
    return found


def converted_images(content: bytes) -> Iterator[tuple[str, bytes]]:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    image.thumbnail((160, 160))
    for suffix, name in IMAGES.items():
        target = io.BytesIO()
        image.save(target, name)
        yield suffix, target.getvalue()


def converted_sounds(content: bytes) -> Iterator[tuple[str, bytes]]:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    samples = samples[: 2 * rate, :1]
    for suffix in (".wav", ".flac", ".ogg", ".aiff"):
        target = io.BytesIO()
        soundfile.write(target, samples, rate, format=suffix[1:].upper())
        yield suffix, target.getvalue()
    for suffix, form, codec in SOUNDS:
        target = io.BytesIO()
        with av.open(target, "w", format=form) as container:
            stream: Any = container.add_stream(codec, rate=48_000)
            planes: Any = np.ascontiguousarray(samples.T)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(stream.codec_context.format, "mono", 48_000, frame_size=0)
            for each in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(stream.encode(each))
            container.mux(stream.encode(None))
        yield suffix, target.getvalue()


def mutated(rng: np.random.Generator, intact: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    suffix, content = intact[int(rng.integers(len(intact)))]
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, changed)
        if not changed:
            break
    return suffix, bytes(changed)


def broken_promise(path: Path, pool: DecodingPool, outcomes: Counter[str]) -> str:
    """What is wrong with how this file was taken in, empty if nothing is."""
    started = time.monotonic()
    try:
        medium = load_medium(path, UPLOAD_LIMITS, pool.decode)
        check_harmless(medium)
        outcomes[f"read as {medium.modality}"] += 1
    except MediaError as error:
        sentence = str(error)
        outcomes["refused"] += 1
        if NO_SENTENCE.search(sentence) or not 10 < len(sentence) < 400:
            return f"no sentence: {sentence!r}"
        if "ended" in sentence or "memory" in sentence:
            outcomes[re.sub(r"\S*\.\w+", "FILE", sentence)] += 1
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    took = time.monotonic() - started
    return f"took {took:.0f} s" if took > UPLOAD_LIMITS.decode_seconds + 10 else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, outcomes, broken = np.random.default_rng(arguments.seed), Counter(), 0
    intact, pool = intact_files(arguments.folder), DecodingPool()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number in tqdm(range(arguments.files), unit="file"):
        suffix, content = mutated(rng, intact)
        path = folder / f"{number:05}{suffix}"
        path.write_bytes(content)
        wrong = broken_promise(path, pool, outcomes)
        if wrong:
            broken += 1
            tqdm.write(f"{path}: {wrong}")
        else:
            path.unlink()
    pool.close()
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    print(f"{broken:6} broke a promise; kept in {folder}" if broken else f"all of {arguments.files} as promised")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
