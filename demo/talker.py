"""A reply as it comes. The model lives in one thread: it loads there, and there it answers, one message at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Any

from nextgpt_lite import Reply


class Cancelled(Exception):
    """Nobody waits for this reply any more."""


@dataclass(frozen=True)
class Text:
    """The reply's text so far."""

    so_far: str


@dataclass(frozen=True)
class Progress:
    """A medium is being made: ``step`` of ``steps`` is done."""

    modality: str
    step: int
    steps: int


class Talker:
    """One model for all who chat. ``load`` gives an AnyToAny; it is called at once, in the model's own thread."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.model: Future[Any] = self._thread.submit(load)
        self._thread.submit(self._warm_up)

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self.model.done()

    def reply(self, messages: list[dict[str, Any]], seed: int, cancelled: Event) -> Iterator[Text | Progress | Reply]:
        """Text and progress while they come, last the reply. Raises what the model raises, or Cancelled."""
        events: SimpleQueue[Text | Progress | None] = SimpleQueue()
        job = self._thread.submit(self._chat, messages, seed, cancelled, events)
        job.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None and not cancelled.is_set():
                yield event
            if cancelled.is_set():
                raise Cancelled
            yield job.result()
        finally:
            cancelled.set()
            job.cancel()

    def close(self) -> None:
        """Let the model's thread end; waits for the reply that it is at."""
        self._thread.shutdown(cancel_futures=True)

    def _chat(self, messages: list[dict[str, Any]], seed: int, cancelled: Event, events: SimpleQueue) -> Reply:
        def tell(event: Text | Progress | None) -> None:
            if cancelled.is_set():
                raise Cancelled
            if event:
                events.put(event)

        tell(None)
        return self.model.result().chat(
            messages,
            seed=seed,
            on_text=lambda so_far: tell(Text(so_far)),
            on_progress=lambda modality, step, steps: tell(Progress(modality, step, steps)),
        )

    def _warm_up(self) -> None:
        """Load the parts that a model loads when it first needs them, while the user reads the page."""
        if self.model.exception() is None:
            model = self.model.result()
            _ = model.encoder, model.cache
            for modality in model.core.config.conditions:
                _ = model.decoders[modality]
