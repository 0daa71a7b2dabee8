"""A request to the engine as its client sees it: events while they come, and ways to stop it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nextgpt_lite import Reply, ReplyMedium


@dataclass(frozen=True)
class TextDelta:
    """What has been added to the reply's text."""

    text: str


@dataclass(frozen=True)
class MediumStarted:
    """A medium is being made. ``index`` counts the media of this reply from 0."""

    modality: str
    index: int


@dataclass(frozen=True, eq=False)
class MediumProgress:
    """``step`` of ``total`` diffusion steps are done.

    ``preview`` is an image (H, W, 3) uint8 of what the medium looks like so far: of a video its middle frame, of a
    sound its spectrogram. None where the decoder has none to show.
    """

    modality: str
    index: int
    step: int
    total: int
    preview: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class MediumReady:
    """A medium is done."""

    modality: str
    index: int
    medium: ReplyMedium


@dataclass(frozen=True)
class MediumCancelled:
    """A medium was stopped by :meth:`Job.cancel_medium`; the reply goes on without it."""

    modality: str
    index: int


@dataclass(frozen=True, eq=False)
class Finished:
    """The last event of a request that did not fail.

    ``timings`` are seconds: "waiting" until the engine turned to the request, "first_token" and "text" since it was
    submitted, one per modality made, "total". ``tokens`` counts the reply's tokens, ``prompt_tokens`` those of the
    conversation. Of a ``cancelled`` request ``reply`` holds what was there by then.
    """

    reply: Reply
    timings: dict[str, float]
    tokens: int = 0
    prompt_tokens: int = 0
    cancelled: bool = False


@dataclass(frozen=True)
class Failed:
    """The last event of a request that failed: one sentence for its client. ``theirs``: the request was at fault."""

    sentence: str
    theirs: bool = False


Event = TextDelta | MediumStarted | MediumProgress | MediumReady | MediumCancelled | Finished | Failed


@dataclass(frozen=True)
class Settings:
    """How a request is to be answered; see :meth:`demo.engine.engine.Engine.submit`."""

    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    temperature: float = 0.0
    max_new_tokens: int = 160
    allowed_media: frozenset[str] = frozenset(("image", "video", "audio"))
    demanded: str | None = None
    language: str | None = None
    previews: bool = False


@dataclass(eq=False)
class Job:
    """A request. Iterate over it, plainly or with ``async for``, once: its events come as they happen, the last one is
    :class:`Finished` or :class:`Failed`.

    Any thread may iterate and cancel.
    """

    messages: Sequence[dict[str, Any]]
    settings: Settings = Settings()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    submitted: float = field(default_factory=time.perf_counter)
    done: bool = False  # whether the last event is there

    def __post_init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], object]] = []
        self._cancelled = threading.Event()
        self._cancelled_media: set[int] = set()

    # -- for the client -----------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop, within one token or one diffusion step. The last event is then a cancelled :class:`Finished`."""
        self._cancelled.set()

    def cancel_medium(self, index: int) -> None:
        """Stop making the medium ``index``, or do not begin it; the reply goes on without it."""
        self._cancelled_media.add(index)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def result(self) -> Finished:
        """Wait for the last event. RuntimeError, with its sentence, when the request failed."""
        last = deque(self, maxlen=1).pop() if not self.done or self._events else None
        if not isinstance(last, Finished):
            raise RuntimeError(last.sentence if isinstance(last, Failed) else "the events were read before")
        return last

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self.done)
                event = self._events.popleft() if self._events else None
            if event is None:
                return
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        while True:
            news = asyncio.Event()
            with self._changed:
                event, done = self._events.popleft() if self._events else None, self.done
                if event is None and not done:
                    self._wakers.append(lambda news=news: loop.call_soon_threadsafe(news.set))
            if event is not None:
                yield event
            elif done:
                return
            else:
                await news.wait()

    # -- for the engine -----------------------------------------------------------------------------------------------

    def medium_cancelled(self, index: int) -> bool:
        """Whether nobody waits for the medium ``index`` any more."""
        return self.cancelled or index in self._cancelled_media

    def tell(self, event: Event) -> None:
        """Hand an event to whoever iterates. After the last one nothing more is told."""
        with self._changed:
            if self.done:
                return
            self._events.append(event)
            self.done = isinstance(event, Finished | Failed)
            wakers, self._wakers = self._wakers, []
            self._changed.notify_all()
        for wake in wakers:
            with contextlib.suppress(RuntimeError):  # that client's event loop is closed: it has gone
                wake()
