"""A reply while it is being made: text that grows, and a card for each medium that becomes the medium."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.page.data_urls import picture_address
from demo.page.words import say

if TYPE_CHECKING:
    from demo.engine.job import Event, Failed, Finished, Job
    from nextgpt_lite import ReplyMedium

log = logging.getLogger(__name__)
#: Seconds between two looks at a reply that grows: more often nobody sees.
PACE = 0.06
Part = str | dict[str, Any]


@dataclass
class Card:
    """A medium of a reply. ``preview`` is an address; ``path`` is the file once it is done."""

    modality: str
    step: int = 0
    total: int = 0
    preview: str = ""
    path: Path | None = None
    cancelled: bool = False

    def part(self, index: int, language: str) -> Part:
        """As a part of a gr.Chatbot message."""
        if self.path:
            return {"path": str(self.path), "alt_text": self.path.stem.replace("-", " ")}
        if self.cancelled:
            text = say(language, "cancelled", medium=say(language, self.modality))
            return f'<span class="gone">{text}</span>'
        return self._progress(index, language)

    def _progress(self, index: int, language: str) -> str:
        what = say(language, f"making_{self.modality}")
        how = say(language, "step", step=self.step, total=self.total) if self.total else say(language, "waits")
        picture = f'<img class="preview" src="{self.preview}" alt="">' if self.preview else '<i class="preview"></i>'
        return (
            f'<div class="making {self.modality}">{picture}<div class="line"><b>{what}</b><span>{how}</span>'
            f'<progress value="{self.step}" max="{self.total or 1}"></progress></div>'
            f'<button class="cancel-medium cancel-{index}" title="{say(language, "cancel")}">✕</button></div>'
        )


class GrowingReply:
    """A reply that a thread of its own reads from the engine, so that it is finished though the page is reloaded.

    ``keep`` writes a medium that is done to a file, given its index; ``ended`` is called with the last event.
    """

    def __init__(
        self, job: Job, keep: Callable[[int, ReplyMedium], Path], ended: Callable[[Finished | Failed], None]
    ) -> None:
        self.job, self.text = job, ""
        self.last: Finished | Failed | None = None
        self.cards: dict[int, Card] = {}
        self._keep, self._ended = keep, ended
        self._changes, self._changed = 0, threading.Condition()
        threading.Thread(target=self._read, name="reply", daemon=True).start()

    def parts(self, language: str, waiting: str) -> list[Part]:
        """The bubble's content: the text, or what stands there while there is none, then the cards."""
        cards = [card.part(index, language) for index, card in sorted(self.cards.items())]
        return [self.text or waiting, *cards]

    def watch(self) -> Iterator[None]:
        """Yields each time the reply has grown, and once more at its end."""
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=seen: self._changes != seen)
                seen, over = self._changes, self.last is not None
            yield
            if over:
                return
            time.sleep(PACE)

    def _read(self) -> None:
        from demo.engine.job import Failed  # not at the top: the page is up before torch is imported

        try:
            for event in self.job:
                self._grow(event)
        except Exception:  # a medium that cannot be written, say: whoever watches must not wait for ever
            log.exception("a reply could not be kept")
            self.job.cancel()
            self._grow(Failed("the reply could not be kept"))

    def _grow(self, event: Event) -> None:
        self._take(event)
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _take(self, event: Event) -> None:
        from demo.engine import job as events  # not at the top, see above

        if isinstance(event, events.TextDelta):
            self.text += event.text
        elif isinstance(event, events.MediumStarted):
            self.cards.setdefault(event.index, Card(event.modality))
        elif isinstance(event, events.MediumProgress):
            card = self.cards.setdefault(event.index, Card(event.modality))
            card.step, card.total = event.step, event.total
            if event.preview is not None:
                card.preview = picture_address(event.preview, quality=80)
        elif isinstance(event, events.MediumReady):
            self.cards.setdefault(event.index, Card(event.modality)).path = self._keep(event.index, event.medium)
        elif isinstance(event, events.MediumCancelled):
            self.cards.setdefault(event.index, Card(event.modality)).cancelled = True
        else:
            self.text = event.reply.text if isinstance(event, events.Finished) else self.text
            for card in self.cards.values():  # of a reply that was stopped, what was being made is not made any more
                card.cancelled = card.path is None
            self._ended(event)
            self.last = event
