"""The judges of each medium of Toybox, and what they say together.

A judge has a name and a hash, names attributes of media, and may abstain (None). An attribute is taken as shown where
at least one judge answers and none of them says otherwise, so with several of them a model is never right by one
judge's blind spot. How often they answer, and are right, stands in each report. No judge is a part of the model that it
judges.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data import toybox
from data.atomic import hash_file
from evaluation.toybox.oracles import MODALITIES, WEIGHTS, Oracle

Value = str | int | None
#: None of the known values, or several of them where one is asked for.
OTHER = "other"
#: Two judges name different values.
DISPUTED = "disputed"
#: A judge abstains where its best answer is less probable than this.
LEAST_SURE = 0.5
#: The loudest sample of a sound that counts as silent, of full scale: 50 dB below it.
SILENT = 10**-2.5


class MediaJudge(Protocol):
    """Names what media of one modality show."""

    name: str
    modality: str

    @property
    def hash(self) -> str:
        """Of its weights."""
        ...

    def predict(self, arrays: Sequence[np.ndarray], /) -> list[dict[str, Value]]:
        """Of each array {attribute: value}, None where the judge abstains."""
        ...


class _Judge:
    """Name, modality and hash of a judge whose weights are ``WEIGHTS/<file>.safetensors``."""

    def __init__(self, name: str, modality: str, file: str) -> None:
        self.name, self.modality, self._path = name, modality, WEIGHTS / f"{file}.safetensors"

    @property
    def hash(self) -> str:
        return hash_file(Path(self._path))


class OracleJudge(_Judge):
    """An oracle that abstains where it is not sure."""

    def __init__(self, modality: str) -> None:
        super().__init__(f"oracle_{modality}", modality, modality)
        self.oracle = Oracle.from_pretrained(modality)

    def predict(self, arrays: Sequence[np.ndarray]) -> list[dict[str, Value]]:
        found = self.oracle.probabilities(arrays)
        return [
            {name: _best(toybox.VALUES[name], found[name][row]) for name in found} for row in range(len(arrays))
        ]  # fmt: skip


class SilenceJudge:
    """Says of a sound that is not louder than a faint room that it is none of Toybox's, and abstains of all others."""

    name, modality = "silence_audio", "audio"

    @property
    def hash(self) -> str:
        """Of its rule: nothing is trained."""
        return sha256(f"loudest sample below {SILENT}".encode()).hexdigest()

    def predict(self, arrays: Sequence[np.ndarray]) -> list[dict[str, Value]]:
        return [{"thing": OTHER} if np.abs(array).max(initial=0.0) < SILENT else {} for array in arrays]


@cache
def panel() -> dict[str, list[MediaJudge]]:
    """Modality -> its judges."""
    judges: dict[str, list[MediaJudge]] = {}
    for modality in MODALITIES:
        judges[modality] = list[MediaJudge]([OracleJudge(modality)])
    judges["audio"].append(SilenceJudge())
    return judges


def identities() -> dict[str, str]:
    """Name -> hash of every judge."""
    return {judge.name: judge.hash for judges in panel().values() for judge in judges}


class Reading(dict[str, Value]):
    """What the judges of a medium say together; ``by_judge`` is what each of them says."""

    def __init__(self, by_judge: Mapping[str, Mapping[str, Value]]) -> None:
        names = dict.fromkeys(name for answer in by_judge.values() for name in answer)
        super().__init__({name: _together([answer.get(name) for answer in by_judge.values()]) for name in names})
        self.by_judge = {judge: dict(answer) for judge, answer in by_judge.items()}

    def either(self, name: str) -> Value:
        """The value that the first judge who answers names."""
        return next((each[name] for each in self.by_judge.values() if each.get(name) is not None), None)


def read(modality: str, arrays: Sequence[np.ndarray]) -> list[Reading]:
    """What the judges of a modality say of media: image uint8 (H, W, 3), video uint8 (F, H, W, 3), audio float32 (N,)
    at 16 kHz."""
    answers = {judge.name: judge.predict(arrays) for judge in panel()[modality]}
    return [Reading({name: own[row] for name, own in answers.items()}) for row in range(len(arrays))]


def _together(values: Sequence[Value]) -> Value:
    named = {value for value in values if value is not None}
    return named.pop() if len(named) == 1 else DISPUTED if named else None


def _best(values: Sequence[Any], chances: Any) -> Value:
    chance, place = chances.max(0)
    return values[int(place)] if float(chance) >= LEAST_SURE else None
