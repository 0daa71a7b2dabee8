"""A turn of a conversation, a user's message and its reply; as it is shown, as the model reads it, as it is kept."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from data.atomic import atomic_file
from data.modalities import MODALITIES
from data.text_files import check_texts
from demo.page.streamed_reply import Card, StreamedReply
from nextgpt_lite import Reply, ReplyMedium
from nextgpt_lite.conversation_media import MediaError, attach, read_upload, write_reply_medium

if TYPE_CHECKING:
    from demo.engine.events import Finished


#: The most points of a cloud that a browser turns.
MAX_POINTS = 2048


class RefusedFile(MediaError):
    """A file of a message that is refused, in one sentence; ``file`` is its path."""

    def __init__(self, sentence: str, file: str) -> None:
        super().__init__(sentence)
        self.file = file


@dataclass(frozen=True)
class KeptMedium:
    """A medium of a reply without its array, which lies in the file ``array``."""

    modality: str
    array: str
    rate: float | None
    signal_tokens: int
    seconds: float
    position: int | None = None


@dataclass(frozen=True)
class KeptReply:
    """A reply that has ended. ``stopped`` = before its own end, by a user or with the process."""

    text: str = ""
    media: tuple[KeptMedium, ...] = ()
    cards: tuple[Card, ...] = ()
    dropped_turns: int = 0
    stopped: bool = True


@dataclass(eq=False)
class Turn:
    """A user's message and its reply. ``files`` are the user's, ``shown`` what a browser shows of them, all of them in
    ``folder``. ``streamed`` is the reply while it is generated, ``kept`` once it has ended."""

    folder: Path
    text: str
    files: list[Path]
    shown: list[Path]
    modalities: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    streamed: StreamedReply | None = None
    kept: KeptReply | None = None

    @cached_property
    def message(self) -> dict[str, Any]:
        """The user's side as the model reads it."""
        media = [read_upload(file) for file in self.files]
        return {"role": "user", "content": [*media, *text_part(self.text)]}

    @cached_property
    def reply(self) -> Reply | None:
        """The reply once it has ended."""
        if self.kept is None:
            return None
        media = [_read_medium(self.folder, medium) for medium in self.kept.media]
        return Reply(self.kept.text, media, dropped_turns=self.kept.dropped_turns)

    @property
    def reply_files(self) -> list[tuple[Path, Path]]:
        """Of each finished medium of the reply: its file, and what a browser shows of it."""
        return [card.files for card in (self.kept.cards if self.kept else ()) if card.files]

    def finish(self, finished: Finished, cards: list[Card]) -> None:
        """Keep a reply that has ended."""
        media = []
        for medium, (file, _) in zip(finished.reply.media, [card.files for card in cards if card.files], strict=False):
            array = file.with_name(f"{file.stem}.npz")
            with atomic_file(array) as temporary:
                np.savez_compressed(temporary, array=medium.array)
            values = {name: value for name, value in vars(medium).items() if name != "array"}
            media.append(KeptMedium(array=array.name, **values))
        reply = finished.reply
        self.kept = KeptReply(reply.text, tuple(media), tuple(cards), reply.dropped_turns, finished.cancelled)
        self.reply = reply

    def names(self) -> set[str]:
        """The entries of the folder that the turn needs."""
        paths = [*self.files, *self.shown, *(file for files in self.reply_files for file in files)]
        paths += [points_file(shown) for _, shown in self.reply_files]
        arrays = [medium.array for medium in self.kept.media] if self.kept else []
        return {path.relative_to(self.folder).parts[0] for path in paths} | set(arrays)

    def as_record(self) -> dict[str, Any]:
        """The turn as JSON holds it: paths are relative to its folder."""

        def name(path: Path) -> str:
            return str(path.relative_to(self.folder))

        kept = asdict(self.kept) if self.kept else {}
        for card in kept.get("cards", ()):
            card["files"] = card["files"] and [name(file) for file in card["files"]]
            card["preview"] = ""
        return {
            "text": self.text, "files": [*map(name, self.files)], "shown": [*map(name, self.shown)],
            "modalities": self.modalities, "settings": self.settings, "reply": kept,
        }  # fmt: skip

    @classmethod
    def from_record(cls, record: dict[str, Any], folder: Path) -> Turn:
        """A turn as it was kept. One whose reply was being generated when the process ended counts as stopped."""
        reply = dict(record["reply"])
        reply["media"] = tuple(KeptMedium(**medium) for medium in reply.get("media", ()))
        cards = []
        for card in reply.get("cards", ()):
            files = card["files"] and tuple(folder / file for file in card["files"])
            cards.append(Card(**{**card, "files": files}))
        reply["cards"] = tuple(cards)
        files, shown = ([folder / name for name in record[key]] for key in ("files", "shown"))
        settings = {name: tuple(each) if isinstance(each, list) else each for name, each in record["settings"].items()}
        return cls(folder, record["text"], files, shown, record["modalities"], settings, kept=KeptReply(**reply))


def read_message(text: str, files: list[str], folder: Path, first: int) -> Turn:
    """A user's message as a turn; its files are kept in ``folder`` under numbers from ``first``.

    RefusedFile for a file that is refused, ValueError for a broken text; then nothing is kept.
    """
    check_texts(text)
    parts, kept, shown, made = [], [], [], []
    file = Path()
    try:
        for number, file in enumerate(map(Path, files), first):
            own = file
            if not file.is_relative_to(folder):
                made.append(folder / str(number))
                own = _keep(file, made[-1])
            part, path = attach(own, own.parent, number)
            if part["type"] == "points":
                write_points(part["array"], points_file(path))
            parts.append(part)
            kept.append(own)
            shown.append(path)
    except MediaError as error:
        for each in made:
            shutil.rmtree(each, ignore_errors=True)
        raise RefusedFile(str(error), str(file)) from error
    except BaseException:
        for each in made:
            shutil.rmtree(each, ignore_errors=True)
        raise
    turn = Turn(folder, text, kept, shown, [part["type"] for part in parts])
    turn.message = {"role": "user", "content": [*parts, *text_part(text)]}
    return turn


def save_for_browser(medium: ReplyMedium, path: Path) -> tuple[Path, Path]:
    """Write a medium of a reply; ``path`` gets the suffix. Its file, and the file that a browser shows of it."""
    written = write_reply_medium(medium, path)
    modality = MODALITIES[medium.modality]
    if modality.shown_by_browsers:
        return written, written
    preview = written.with_suffix(".png")
    if medium.modality == "points":
        write_points(medium.array, points_file(preview))
    Image.fromarray(modality.preview(medium.array)).save(preview)
    return written, preview


def points_file(shown: Path) -> Path:
    """Where the points of a cloud lie, of which ``shown`` is an image."""
    return shown.with_suffix(".points")


def write_points(cloud: np.ndarray, path: Path) -> None:
    """At most MAX_POINTS points of a cloud (N, 3) for a browser to turn: int8 (n, 3), centred, the farthest at 127."""
    chosen = cloud[:: -(-len(cloud) // MAX_POINTS)].astype(np.float64)
    centred = chosen - (chosen.max(0) + chosen.min(0)) / 2
    radius = np.linalg.norm(centred, axis=1).max(initial=0.0) or 1.0
    path.write_bytes(np.rint(centred / radius * 127).astype(np.int8).tobytes())


def text_part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}] if text else []


def _keep(file: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    try:
        return Path(shutil.copy(file, folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _read_medium(folder: Path, kept: KeptMedium) -> ReplyMedium:
    with np.load(folder / kept.array, allow_pickle=False) as arrays:
        return ReplyMedium(**asdict(kept) | {"array": arrays["array"]})
