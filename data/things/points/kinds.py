"""The kinds of 3D models: about 135, each with names in English and Chinese and up to 30 models."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

TABLE = Path(__file__).parent / "kinds.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ModelKind:
    """A kind of 3D models.

    Attributes:
        name: the first of its English names; unique, and what scenes and captions call it.
        names: language ("en", "zh") -> names. "some" stands before what takes no article.
        models, held_out: files of the models that training sees, and of those that it never sees: where there are
            four or more models a fifth is held out.
    """

    name: str
    names: dict[str, tuple[str, ...]]
    models: tuple[str, ...]
    held_out: tuple[str, ...]


@cache
def model_kinds() -> dict[str, ModelKind]:
    """Name -> kind."""
    kinds = {}
    for entry in yaml.load(TABLE.read_text(encoding="utf-8"), _LOADER):
        names = {language: tuple(entry[language]) for language in ("en", "zh")}
        name = names["en"][0].removeprefix("some ")
        kinds[name] = ModelKind(name, names, tuple(entry["models"]), tuple(entry.get("held_out", ())))
    return kinds


def model_files() -> list[str]:
    """The files of all models, each once."""
    return [file for kind in model_kinds().values() for file in (*kind.models, *kind.held_out)]
