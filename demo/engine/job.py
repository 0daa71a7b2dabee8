"""A request to the engine as its client sees it: settings, events while they come, and ways to stop it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from demo.engine.events import Event, Failed, Finished

if TYPE_CHECKING:
    from nextgpt_lite import AnyToAny
    from nextgpt_lite.generate import Prepared

#: Seconds that a request takes on average, before any was answered.
DEFAULT_REQUEST_SECONDS = 2.0


class QueueFull(Exception):
    """As many requests as the queue holds are waiting. ``seconds`` is when to try again."""

    def __init__(self, limit: int, seconds: float) -> None:
        super().__init__(f"{limit} requests are waiting already: try again in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Settings:
    """How a request is to be answered.

    ``seed`` is of the media's noise, and of sampling where ``temperature`` > 0: the reply depends on it and on nothing
    else that goes on at the same time. ``top_p`` is the share of the likeliest tokens that are sampled from. ``steps``
    and ``guidance`` are of the decoders, None = their own. ``max_new_tokens`` counts signal tokens too.
    ``allowed_media`` are the media that the reply may hold, None = all; it holds one of ``required_modality`` even if
    the model asks for none. ``language`` is "en" or "zh", followed where the model finds an answer in it likely enough.
    With ``previews`` MediumProgress brings images, each of which costs a pass of the decoder's VAE.
    """

    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 160
    allowed_media: Collection[str] | None = None
    required_modality: str | None = None
    language: str | None = None
    previews: bool = False

    def allows(self, modality: str) -> bool:
        """Whether the reply may hold a medium of ``modality``."""
        return self.allowed_media is None or modality in self.allowed_media or modality == self.required_modality


@dataclass
class Counts:
    """What an engine has done: ``requests`` by how they ended, ``media`` by modality, ``seconds`` by modality, of
    "text" and of "requests"."""

    requests: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: int = 0

    @property
    def seconds_per_request(self) -> float:
        """How long the engine works for a request, by what it has done so far."""
        done = sum(self.requests.values())
        worked = sum(seconds for name, seconds in self.seconds.items() if name != "requests")
        return max(1.0, worked / done) if done else DEFAULT_REQUEST_SECONDS


@dataclass(frozen=True, eq=False)
class Call:
    """A function to be run in the engine's thread; it may decode media itself."""

    future: Future
    function: Callable[[AnyToAny], Any]
    decodes: bool

    def run(self, model: Future[AnyToAny]) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.function(model.result()))
        except BaseException as error:
            self.future.set_exception(error)


@dataclass(eq=False)
class Job:
    """A request. Iterate over it once, with ``for`` or ``async for``: its events come as they happen, the last one is
    :class:`Finished` or :class:`Failed`. Any thread may iterate and cancel."""

    messages: Sequence[dict[str, Any]]
    settings: Settings = Settings()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    submitted: float = field(default_factory=time.perf_counter)
    done: bool = False  # whether the last event was published
    prepared: Future[Prepared] = field(default_factory=Future)  # its messages as the core reads them

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
        """Stop generating the medium ``index``, or do not start it; the reply goes on without it."""
        self._cancelled_media.add(index)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def result(self) -> Finished:
        """Wait for the last event. RuntimeError, with its sentence, if the request failed."""
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
            changed = asyncio.Event()
            with self._changed:
                event, done = self._events.popleft() if self._events else None, self.done
                if event is None and not done:
                    self._wakers.append(lambda changed=changed: loop.call_soon_threadsafe(changed.set))
            if event is not None:
                yield event
            elif done:
                return
            else:
                await changed.wait()

    # -- for the engine -----------------------------------------------------------------------------------------------

    def medium_cancelled(self, index: int) -> bool:
        """Whether the medium ``index`` was cancelled."""
        return self.cancelled or index in self._cancelled_media

    def publish(self, event: Event) -> None:
        """Hand an event to who iterates. After the last one nothing more is published."""
        with self._changed:
            if self.done:
                return
            self._events.append(event)
            self.done = isinstance(event, Finished | Failed)
            wakers, self._wakers = self._wakers, []
            self._changed.notify_all()
        for wake in wakers:
            with contextlib.suppress(RuntimeError):  # the client's event loop is closed: it has disconnected
                wake()
