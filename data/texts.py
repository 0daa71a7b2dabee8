"""Plain texts: a folder of UTF-8 ``.txt`` files, some of which are held out, whole, for evaluation."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.atomic import write_json
from data.text_files import read_text

SPLIT = "texts.json"


class TextsError(ValueError):
    """A folder of texts that cannot be used, with a sentence that says what is wrong and what was expected."""


@dataclass(frozen=True)
class Text:
    """A file's name and content."""

    name: str
    content: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


def read_texts(folder: str | Path) -> list[Text]:
    """Every ``.txt`` file of ``folder``, by name. TextsError for no folder or file, no UTF-8, an empty file."""
    folder = Path(folder)
    if not folder.is_dir():
        raise TextsError(f"no folder of texts at {str(folder)!r}")
    texts = [_read(path) for path in sorted(folder.glob("*.txt")) if path.is_file()]
    if not texts:
        raise TextsError(f"{folder} holds no texts: expected files named *.txt")
    return texts


def split_texts(texts: Sequence[Text], held_out: float) -> tuple[list[Text], list[Text]]:
    """Texts to train on, and texts held out: the smallest files that make up the share ``held_out`` of all characters.

    Whole files, so that nothing of a text that is scored was ever trained on, and a long row of it is one text.
    """
    if not 0 < held_out < 1:
        raise TextsError(f"held_out must be a share between 0 and 1, not {held_out}")
    by_size = sorted(texts, key=lambda text: (len(text.content), text.name))
    wanted = held_out * sum(len(text.content) for text in texts)
    kept, size = [], 0
    while size < wanted:
        kept.append(by_size[len(kept)])
        size += len(kept[-1].content)
    if len(kept) == len(texts):
        raise TextsError(f"{len(texts)} texts leave none to train on when a share of {held_out} is held out")
    names = {text.name for text in kept}
    return [text for text in texts if text.name not in names], [text for text in texts if text.name in names]


def write_split(trained_on: Sequence[Text], held_out: Sequence[Text], folder: Path) -> None:
    """Record beside a model which texts it was trained on and which were held out, by name and hash."""
    split = {
        "trained_on": {text.name: text.sha256 for text in trained_on},
        "held_out": {text.name: text.sha256 for text in held_out},
    }
    write_json(folder / SPLIT, split)


def hashes(folder: Path, part: str) -> set[str]:
    """Hashes of the texts that the model in ``folder`` was ``trained_on`` or that were ``held_out``."""
    path = folder / SPLIT
    if not path.is_file():
        raise TextsError(f"{folder} does not say which texts it was trained on: expected {SPLIT}")
    return set(json.loads(path.read_text(encoding="utf-8"))[part].values())


def _read(path: Path) -> Text:
    try:
        content = read_text(path)
    except UnicodeDecodeError as error:
        raise TextsError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from error
    if not content.strip():
        raise TextsError(f"{path} is empty")
    return Text(path.name, content)


def pydoc_topics() -> list[str]:
    """The topics of Python's reference that ``help()`` shows: some 460,000 characters of English."""
    from pydoc_data.topics import topics

    return list(topics.values())
