"""One model for all who ask: a bounded queue, text generated in batches, media one after the other, and cancelling.

    engine = Engine(AnyToAny.from_pretrained("nano"))
    for event in engine.submit([{"role": "user", "content": "Draw a red bell."}], seed=3):
        ...

One thread owns the model. Requests that wait together are answered as one batch of text; between two blocks of a
decoder's network, text that waits goes first, so that nobody waits for a video before reading the first word.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from demo.engine.job import Failed, Finished, Job, MediumCancelled, MediumProgress, MediumReady, MediumStarted, Settings
from demo.engine.reply_in_progress import Asked, Talk, check, refused
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES
from nextgpt_lite.text_batch import TextBatch

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Seconds that text may take between two blocks of a decoder: under a load of nothing but text, media still get on.
TEXT_SHARE = 0.05
#: Seconds that a request takes on average, before any was answered.
FIRST_GUESS = 2.0


class QueueFull(Exception):
    """As many requests as the queue holds are waiting. ``seconds`` is when to try again."""

    def __init__(self, limit: int, seconds: float) -> None:
        super().__init__(f"{limit} requests are waiting already: try again in {seconds:.0f} s")
        self.seconds = seconds


class _Stopped(Exception):
    """Raised inside a decoder to end its sampling."""


@dataclass
class Counts:
    """What an engine has done so far. ``requests`` by how they ended, ``media`` and ``seconds`` by what was made."""

    requests: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: int = 0


@dataclass(frozen=True, eq=False)
class Call:
    """What is to be run in the engine's thread."""

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


class Engine:
    """Answers requests with one model.

    Args:
        model: an AnyToAny, or what gives one: it is then called at once in the engine's thread, so that whoever builds
            a page need not wait for it.
        queue_limit: requests that may be unfinished at a time; more are refused.
        batch: requests whose text is generated together.
    """

    def __init__(self, model: AnyToAny | Callable[[], AnyToAny], *, queue_limit: int = 64, batch: int = 8) -> None:
        self.queue_limit, self.batch = queue_limit, batch
        self.model: Future[AnyToAny] = Future()
        self.counts = Counts()
        self._load = (lambda: model) if isinstance(model, AnyToAny) else model
        self._jobs: set[Job] = set()  # not finished yet
        self._arrived: deque[Job] = deque()
        self._talks: list[Talk] = []
        self._asked: deque[Asked] = deque()  # media to be made
        self._calls: deque[Call] = deque()
        self._making = False
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # -- for clients --------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self.model.done()

    @property
    def unfinished(self) -> int:
        """Requests that are waiting or being answered."""
        return len(self._jobs)

    def submit(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        temperature: float = 0.0,
        max_new_tokens: int = 160,
        allowed_media: Collection[str] | None = None,
        demanded: str | None = None,
        language: str | None = None,
        previews: bool = False,
    ) -> Job:
        """Ask for a reply to ``messages`` (as :meth:`AnyToAny.chat` takes them); comes back at once.

        Args:
            seed: of the media's noise, and of sampling where ``temperature`` > 0. The reply depends on it and on
                nothing else that goes on at the same time.
            steps, guidance: of the decoders; None = their own.
            max_new_tokens: the most tokens of the reply, signal tokens included.
            allowed_media: which media the reply may hold; None = all.
            demanded: a modality that the reply is to hold one medium of, even where the model gives none.
            language: "en" or "zh", where the model finds an answer in it likely enough; None = as the model likes.
            previews: whether MediumProgress brings pictures; each costs a pass of the decoder's VAE over one image.

        Raises ValueError for a setting out of range and QueueFull. What is wrong with the messages comes as Failed.
        """
        allowed = frozenset(OUTPUT_MODALITIES if allowed_media is None else allowed_media)
        allowed |= {demanded} if demanded else set()
        settings = Settings(seed, steps, guidance, temperature, max_new_tokens, allowed, demanded, language, previews)
        check(settings)
        job = Job(messages, settings)
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if len(self._jobs) >= self.queue_limit:
                raise QueueFull(self.queue_limit, self._seconds_a_request() * len(self._jobs))
            self._jobs.add(job)
            self._arrived.append(job)
            self._changed.notify()
        return job

    def call(self, function: Callable[[AnyToAny], T], *, decodes: bool = False) -> Future[T]:
        """Run ``function`` with the model in the thread that owns it, before the next token.

        One that ``decodes`` media itself waits until no medium is being made.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._calls.append(Call(future, function, decodes))
            self._changed.notify()
        return future

    def warm_up(self) -> Future[None]:
        """Load the parts of the model that are otherwise loaded when they are first needed."""

        def load(model: AnyToAny) -> None:
            _ = model.encoder, model.cache
            for modality in model.core.config.conditions:
                _ = model.decoders[modality]

        return self.call(load)

    def close(self) -> None:
        """Cancel everything and let the thread end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for job in list(self._jobs):
            job.cancel()
        self._thread.join()

    # -- the thread that owns the model -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            model = self._load()
            self._texts = TextBatch(model.core, cast(int, model.tokenizer.eos_token_id))
            self.model.set_result(model)
        except BaseException as error:
            self.model.set_exception(error)
        while not self._closed or self._jobs:
            if not self._serve_text() and not self._make_next():
                with self._changed:
                    self._changed.wait_for(self._has_work)
        for call in self._calls:
            call.future.cancel()

    def _has_work(self) -> bool:
        """What arrives while a round ends may be begun by that very round: what is under way is work as well."""
        return bool(self._closed or self._arrived or self._calls or self._talks or self._asked)

    def _serve_text(self) -> bool:
        """One round: calls, one prompt read, one token for each reply. Says whether there was anything to do."""
        calls = [call for call in list(self._calls) if not (call.decodes and self._making)]
        busy = bool(calls or self._arrived or self._talks)
        for call in calls:
            self._calls.remove(call)
            call.run(self.model)
        self._drop_cancelled()
        if self._arrived and len(self._talks) < self.batch:
            self._admit(self._arrived.popleft())
        self._step()
        return busy

    def _drop_cancelled(self) -> None:
        """End the requests that nobody waits for any more, wherever they stand."""
        for job in [job for job in list(self._arrived) if job.cancelled]:
            self._arrived.remove(job)
            self._end(job, None)
        for talk in [talk for talk in self._talks if talk.job.cancelled]:
            self._texts.remove(talk.row)
            self._talks.remove(talk)
            self._end(talk.job, talk)
        for asked in [asked for asked in self._asked if asked.job.cancelled]:
            self._asked.remove(asked)
            self._end(asked.job, asked.talk)

    def _admit(self, job: Job) -> None:
        """Read a request's prompt; its reply is generated from the next round on."""
        try:
            talk = Talk.begin(job, self.model.result(), self._texts)
        except Exception as error:
            self._fail(job, error)
            return
        talk.tell()
        if talk.row.finished:
            self._read(talk)
        else:
            self._talks.append(talk)

    def _step(self) -> None:
        if not self._talks:
            return
        started = time.perf_counter()
        try:
            finished = self._texts.step()
        except Exception as error:  # nobody can tell whose row it was
            self._texts = TextBatch(self._texts.core, self._texts.end)
            talks, self._talks = self._talks, []
            for talk in talks:
                self._fail(talk.job, error)
            return
        self.counts.tokens += len(self._talks)
        self.counts.seconds["text"] += time.perf_counter() - started
        for talk in list(self._talks):
            talk.tell()
            if talk.row in finished:
                self._talks.remove(talk)
                self._read(talk)

    def _read(self, talk: Talk) -> None:
        """A reply's text is complete: tell it, and queue its media."""
        try:
            asked = talk.read(self.model.result())
        except Exception as error:
            self._fail(talk.job, error)
            return
        self._asked += asked
        if not asked:
            self._end(talk.job, talk)

    def _make_next(self) -> bool:
        """Make the medium that has waited longest. Says whether there was one."""
        if not self._asked:
            return False
        asked = self._asked.popleft()
        if asked.job.done:  # another of its media has failed
            return True
        self._making = True
        try:
            self._make(asked)
        except _Stopped:
            if not asked.job.cancelled:
                asked.job.tell(MediumCancelled(asked.modality, asked.index))
        except Exception as error:
            self._fail(asked.job, error)
        finally:
            self._making = False
        if asked.last or asked.job.cancelled:
            self._end(asked.job, asked.talk)
        return True

    def _make(self, asked: Asked) -> None:
        """Make a medium and tell how it goes. Raises _Stopped when nobody waits for it."""
        job, model, settings = asked.job, self.model.result(), asked.job.settings
        self._give_way(asked)
        job.tell(MediumStarted(asked.modality, asked.index))

        def on_progress(modality: str, step: int, total: int) -> None:
            preview = model.decoders[modality].preview() if settings.previews else None
            job.tell(MediumProgress(modality, asked.index, step, total, preview))
            self._give_way(asked)

        [medium] = model.decode(
            asked.modality, asked.wanted.condition[None], [asked.seed], settings.steps, settings.guidance, on_progress,
            on_block=lambda: self._give_way(asked), words=[asked.wanted.words],
        )  # fmt: skip
        self.counts.media[asked.modality] += 1
        self.counts.seconds[asked.modality] += medium.seconds
        asked.talk.take(medium)
        job.tell(MediumReady(asked.modality, asked.index, medium))

    def _give_way(self, asked: Asked) -> None:
        """Text that waits goes first, for a while. Raises _Stopped when nobody waits for the medium any more."""
        deadline = time.perf_counter() + TEXT_SHARE
        while not asked.cancelled and self._serve_text() and time.perf_counter() < deadline:
            pass
        if asked.cancelled:
            raise _Stopped

    def _fail(self, job: Job, error: Exception) -> None:
        if job.done:
            return
        theirs = refused(error)
        if not theirs:
            log.error("a request failed", exc_info=error)
        self._finish(job, "refused" if theirs else "failed")
        job.tell(Failed(str(error) if theirs else "the model failed at this request", theirs))

    def _end(self, job: Job, talk: Talk | None) -> None:
        if job.done:
            return
        seconds = time.perf_counter() - job.submitted
        nothing = Finished(Reply(""), {"waiting": seconds, "total": seconds}, cancelled=job.cancelled)
        self._finish(job, "cancelled" if job.cancelled else "finished")
        job.tell(talk.ending() if talk else nothing)

    def _finish(self, job: Job, how: str) -> None:
        self.counts.requests[how] += 1
        self.counts.seconds["requests"] += time.perf_counter() - job.submitted
        with self._changed:
            self._jobs.discard(job)

    def _seconds_a_request(self) -> float:
        """How long the engine takes for a request, by what it has done so far."""
        done = sum(self.counts.requests.values())
        worked = sum(self.counts.seconds[what] for what in ("text", *OUTPUT_MODALITIES))
        return max(1.0, worked / done) if done else FIRST_GUESS
