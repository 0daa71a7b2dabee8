"""The suite's cases: which dialogues, how many of each, and what their last reply must hold.

Media out of distribution, which a model of Toybox should decline, are the sample media of the gradio package, which the
demo needs anyway: random crops of its photographs and random cuts of its recordings, each at the size and rate that
Toybox has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from PIL import Image

from data import toybox
from data.modalities import MODALITIES
from evaluation import SUITES
from evaluation.classifiers import SAMPLE_RATE, SAMPLES
from evaluation.toybox.wording import free_turns, outside_turns

IMAGE_SIZE = 128
#: Drawings and logos are left out: a cartoon of a thing of Toybox may rightly be named.
PHOTOGRAPHS = ("bus.png", "cheetah.jpg", "cheetah1.jpg", "groot.jpeg", "lion.jpg", "tower.jpg", "avatar.png")
RECORDINGS = (
    "audio_sample.wav", "cantina.wav", "cate_blanch.mp3", "cate_blanch_2.mp3",
    "heath_ledger.mp3", "recording1.wav", "sax.wav",
)  # fmt: skip


def sample_medium(modality: str, seed: int, index: int) -> tuple[np.ndarray, float | None]:
    """(array, rate) of a photograph or a recording."""
    return (photograph(seed, index), None) if modality == "image" else (recording(seed, index), float(SAMPLE_RATE))


def find_files(names: tuple[str, ...], folder: str) -> list[Path]:
    """The files of these names that the installed gradio has. ValueError where it has none."""
    spec = find_spec("gradio")
    if spec is None or spec.origin is None:
        raise ValueError("gradio is not installed: its sample media are needed")
    media = Path(spec.origin).parent / "media_assets" / folder
    paths = [media / name for name in names if (media / name).is_file()]
    if not paths:
        raise ValueError(f"none of {', '.join(names)} is in {media}")
    return paths


def photograph(seed: int, index: int) -> np.ndarray:
    """A random square of a photograph, uint8 (128, 128, 3)."""
    rng = np.random.default_rng((seed, index, 0xF070))
    paths = find_files(PHOTOGRAPHS, "images")
    with Image.open(paths[index % len(paths)]) as opened:
        image = opened.convert("RGB")
    side = int(min(image.size) * rng.uniform(0.5, 1.0))
    left, top = (int(rng.integers(length - side + 1)) for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))


@lru_cache
def recording_mono(path: Path) -> tuple[np.ndarray, int]:
    """The first minute of a recording, one channel, and its rate."""
    with soundfile.SoundFile(path) as opened:
        rate = opened.samplerate
        return opened.read(60 * rate, dtype="float32", always_2d=True).mean(1), rate


def recording(seed: int, index: int) -> np.ndarray:
    """Two seconds of a recording at 16 kHz, float32 (32000,): the loudest of four random cuts."""
    rng = np.random.default_rng((seed, index, 0xA0D1))
    paths = find_files(RECORDINGS, "audio")
    wave, rate = recording_mono(paths[index % len(paths)])
    length = min(2 * rate, len(wave))
    starts = rng.integers(len(wave) - length + 1, size=4)
    cut = max((wave[start : start + length] for start in starts), key=lambda part: float(np.square(part).mean()))
    return resampled(np.pad(cut, (0, 2 * rate - length)), SAMPLES)


def resampled(wave: np.ndarray, samples: int) -> np.ndarray:
    """The same two seconds in ``samples`` samples, by cutting or extending the spectrum."""
    return np.clip(np.fft.irfft(np.fft.rfft(wave), samples) * samples / len(wave), -1, 1).astype(np.float32)


GROUPS = Path(__file__).with_name("groups.yaml")
MEDIA = ("text", "image", "audio", "video")
GENERATED = ("image", "audio", "video")
FULL_COUNT = SUITES["any_to_any"].full_count  # --count that the sizes below and in groups.yaml belong to
#: Where a request names no number, one thing is asked for.
ONE_THING = {"image": {"count": 1}}
FIRST_SEED = 10_000  # evaluation streams start here; training streams end at 1,000
NOISE = 96  # the stream of the decoders' noise: other runs, other noise


@dataclass(frozen=True)
class Case:
    """User turns that are put to the model, with its own replies between them, and what the last reply must hold.

    ``group`` names the metric that the case counts for; ``requested`` the media that each reply must bring.
    """

    group: str
    cell: str
    turns: tuple[list[dict[str, Any]], ...]
    requested: tuple[tuple[str, ...], ...]
    expected: dict[str, Any]
    language: str
    seed: int

    @property
    def expected_by_modality(self) -> dict[str, dict[str, Any]]:
        """{modality of the reply, or "text": the attributes that it must show}."""
        attributes, modalities = self.expected["attributes"], self.expected["modalities"]
        if not modalities:
            return {"text": attributes}
        each = self.expected.get("attributes_by_modality", {})
        carries = toybox.CARRIES
        named = {m: each.get(m, {n: v for n, v in attributes.items() if n in carries[m]}) for m in modalities}
        return {m: own | ONE_THING.get(m, {}) | own for m, own in named.items()}


def content(part: str | toybox.MediaPart) -> dict[str, Any]:
    """One part of a dialogue's turn in the form that ``AnyToAny.chat`` takes."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": part.modality, "array": toybox.render_medium(part), "rate": MODALITIES[part.modality].rate}


def case(group: str, cell: str, dialogue: toybox.Dialogue, seed: int) -> Case:
    """A dialogue as a case: its user turns, and what each of its assistant turns brings."""
    users = tuple([content(part) for part in turn.parts] for turn in dialogue.turns if turn.role == "user")
    requested = tuple(
        tuple(part.modality for part in turn.parts if not isinstance(part, str))
        for turn in dialogue.turns
        if turn.role == "assistant"
    )
    return Case(group, cell, users, requested, dialogue.expected, dialogue.language, seed)


def cell_cases(group: str, source: str, target: str, count: int, seed: int, language: str) -> Iterator[Case]:
    """``count`` cases of one cell."""
    for index in range(count):
        dialogue = toybox.dialogue(seed, index, language=language, source=source, target=target)
        yield case(group, f"{source}->{target}", dialogue, index)


def matrix_cases(group: str, count: int, seed: int, language: str) -> Iterator[Case]:
    """``count`` cases of each of the 16 cells."""
    for row, source in enumerate(MEDIA):
        for column, target in enumerate(MEDIA):
            yield from cell_cases(group, source, target, count, stream_seed(seed, 4 * row + column), language)


@dataclass(frozen=True)
class Group:
    """An entry of groups.yaml."""

    name: str
    kind: str
    count: int
    forms: Sequence[dict[str, str]] = ({"language": "en"}, {"language": "zh"})
    user_turns: int | None = None
    names: str | None = None

    def counts(self, dialogue: toybox.Dialogue) -> bool:
        """Whether a dialogue has the turns and names the attribute that this group is about."""
        turns = sum(turn.role == "user" for turn in dialogue.turns)
        return self.user_turns in (None, turns) and (not self.names or self.names in dialogue.expected["attributes"])

    def cases(self, count: int, seed: int) -> Iterator[Case]:
        """``count`` cases, going round the forms."""
        index = made = 0
        while made < count:
            form = self.forms[made % len(self.forms)]
            dialogue = toybox.dialogue(seed, index, kind=self.kind, **{"language": "en", **form})
            index += 1
            if self.counts(dialogue):
                yield case(self.name, form.get("source") or form.get("target") or self.kind, dialogue, index)
                made += 1


def out_of_distribution_cases(count: int, seed: int) -> Iterator[Case]:
    """Photographs and recordings, with the same questions that are asked about Toybox's media."""
    for index in range(count):
        modality = ("image", "audio")[index % 2]
        array, rate = sample_medium(modality, seed, index // 2)
        asked = toybox.dialogue(seed, index, kind="describe", source=modality, language="en").turns[0].parts
        words = [content(part) for part in asked if isinstance(part, str)]
        medium = {"type": modality, "array": array, "rate": rate}
        expected = {"modalities": [], "attributes": {}, "unknown": True}
        yield Case("unknown", f"gradio_{modality}", ([medium, *words],), ((),), expected, "en", index)


def free_cases(name: str, language: str, count: int, seed: int) -> Iterator[Case]:
    """Requests in free wording, each with the same media and words as the table of wordings says."""
    for index, (turn, expected, cell) in enumerate(free_turns(language, count, seed)):
        yield Case(name, cell, (turn,), (tuple(expected["modalities"]),), expected, language, index)


def outside_cases(name: str, language: str, count: int) -> Iterator[Case]:
    """Requests in free wording for things that no list of training names."""
    expected = {"modalities": [], "attributes": {}, "unknown": True}
    for index, turn in enumerate(outside_turns(language, count)):
        yield Case(name, "text", (turn,), ((),), expected, language, index)


def stream_seed(seed: int, stream: int) -> int:
    """A seed for one stream of one run, disjoint from those of training."""
    return FIRST_SEED + int(np.random.SeedSequence((seed, stream)).generate_state(1)[0] % 2**30)


def plan(count: int, seed: int) -> list[Case]:
    """All cases of a run; ``count`` 320 is the full suite: 20 cases a cell and the rest in proportion."""

    def scaled(full: int) -> int:
        return max(1, round(full * count / FULL_COUNT))

    groups = [Group(**entry) for entry in yaml.safe_load(GROUPS.read_text(encoding="utf-8"))]
    cases = [
        *matrix_cases("matrix", scaled(20), seed, "en"),
        *matrix_cases("chinese", scaled(6), seed + 1_000_003, "zh"),
        *cell_cases("points", "points", "text", scaled(40), stream_seed(seed, 40), "en"),
    ]
    for stream, group in enumerate(groups, start=41):
        size, own = scaled(group.count), stream_seed(seed, stream)
        if group.kind == "free_wording":
            cases += free_cases(group.name, group.forms[0]["language"], size, own)
        elif group.kind == "outside":
            cases += outside_cases(group.name, group.forms[0]["language"], size)
        elif group.kind == "out_of_distribution":
            cases += out_of_distribution_cases(size, own)
        else:
            cases += group.cases(size, own)
    return [replace(each, seed=stream_seed(seed, NOISE) + number) for number, each in enumerate(cases)]
