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
from demo.page.streamed_reply import Card, Part, StreamedReply, shown_file, shown_text
from demo.texts import translate
from nextgpt_lite import Reply, ReplyMedium
from nextgpt_lite.conversation_media import attach, read_upload, write_reply_medium

if TYPE_CHECKING:
    from demo.engine.events import Finished


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

    def bubbles(self, language: str, waiting: str) -> list[dict[str, Any]]:
        """Both sides as gr.Chatbot takes them."""
        message: list[Part] = [*map(shown_file, self.shown), *([shown_text(self.text)] if self.text else [])]
        if self.kept:
            reply = [
                shown_text(self.kept.text) or "…",
                *(card.part(index, language) for index, card in enumerate(self.kept.cards)),
            ]
            reply += [translate(language, "stopped")] if self.kept.stopped else []
        else:
            reply = self.streamed.parts(language, waiting) if self.streamed else [waiting]
        return [{"role": "user", "content": message}, {"role": "assistant", "content": reply}]

    def names(self) -> set[str]:
        """The entries of the folder that the turn needs."""
        paths = [*self.files, *self.shown, *(file for files in self.reply_files for file in files)]
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

    MediaError for a file that is refused, ValueError for a broken text; then nothing is kept.
    """
    check_texts(text)
    parts, kept, shown, made = [], [], [], []
    try:
        for number, file in enumerate(map(Path, files), first):
            if not file.is_relative_to(folder):
                made.append(folder / str(number))
                file = _keep(file, made[-1])
            part, path = attach(file, file.parent, number)
            parts.append(part)
            kept.append(file)
            shown.append(path)
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
    Image.fromarray(modality.preview(medium.array)).save(preview)
    return written, preview


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
