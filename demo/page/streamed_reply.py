"""A reply while it is generated: text that grows, and a card for each medium until the medium is there."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.data_urls import image_url
from demo.engine.events import (
    Event,
    Failed,
    Finished,
    MediumCancelled,
    MediumProgress,
    MediumReady,
    MediumStarted,
    TextDelta,
)
from demo.engine.job import Job

if TYPE_CHECKING:
    from nextgpt_lite import ReplyMedium

log = logging.getLogger(__name__)
#: Least seconds between two updates of a reply: a browser shows no more of them.
UPDATE_SECONDS = 0.06


@dataclass
class Card:
    """A medium of a reply. ``preview`` is a data URL; ``files`` are the finished one and a browser's."""

    modality: str
    step: int = 0
    total: int = 0
    preview: str = ""
    files: tuple[Path, Path] | None = None
    cancelled: bool = False


class StreamedReply:
    """A reply that a thread of its own reads from the engine, so that it is finished even if the page is reloaded.

    ``save`` writes a finished medium and returns its file and what browsers show of it; ``ended`` is called with the
    last event and the cards, before those who watch see the end.
    """

    def __init__(
        self,
        job: Job,
        save: Callable[[ReplyMedium], tuple[Path, Path]],
        ended: Callable[[Finished | Failed, list[Card]], None],
    ) -> None:
        self.job, self.text = job, ""
        self.last: Finished | Failed | None = None
        self.cards: dict[int, Card] = {}
        self._save, self._ended = save, ended
        self._changes = 0
        self.thread = threading.Thread(target=self._read, name="reply", daemon=True)
        self.thread.start()

    def watch(self) -> Iterator[None]:
        """Yields when the reply has changed since, and once more at its end."""
        seen = -1
        while True:
            count, over = self._changes, self.last is not None
            if count != seen or over:
                yield
            if over:
                return
            seen = count
            time.sleep(UPDATE_SECONDS)

    def _read(self) -> None:
        try:
            for event in self.job:
                self._update(event)
        except Exception:  # a medium that cannot be written, for example: who watches must not wait for ever
            log.exception("a reply could not be saved")
            self.job.cancel()
            self.last = Failed("the reply could not be saved")
            with contextlib.suppress(OSError):  # the disk may be full
                self._ended(self.last, [])
            self._changes += 1

    def _update(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self.text += text
            case MediumStarted(modality, index):
                self.cards[index] = Card(modality)
            case MediumProgress(_, index, step, total, preview):
                card = self.cards[index]
                card.step, card.total = step, total
                if preview is not None:
                    card.preview = image_url(preview, quality=80)
            case MediumReady(_, index, medium):
                self.cards[index].files = self._save(medium)
            case MediumCancelled(modality, index):
                self.cards.setdefault(index, Card(modality)).cancelled = True
            case _:
                self._finish(event)
        self._changes += 1

    def _finish(self, event: Finished | Failed) -> None:
        for card in self.cards.values():  # what is unfinished now was stopped with the reply
            card.cancelled = card.files is None
        if isinstance(event, Finished):
            self.text = event.reply.text
        self._ended(event, [card for _, card in sorted(self.cards.items())])
        self.last = event
