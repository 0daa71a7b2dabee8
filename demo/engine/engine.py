"""One model for all clients: a bounded queue, text generated in batches, media one after the other, cancelling.

    engine = Engine(AnyToAny.from_pretrained("nano"))
    for event in engine.submit([{"role": "user", "content": "Draw a red bell."}], seed=3):
        ...

One thread owns the model. It repeats: admit a request, generate one token for each reply, and, while no text waits,
decode a medium. Between two blocks of a decoder's network waiting text goes first, so that nobody waits for another
client's video before reading the first word.
"""

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from data.modalities import MODALITIES
from demo.engine.events import Failed, Finished, MediumCancelled, MediumProgress, MediumReady, MediumStarted
from demo.engine.job import Call, Job, QueueFull, Settings
from demo.engine.reply_in_progress import PendingMedium, ReplyInProgress, check_settings
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.generate import TextBatch

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Seconds that text may take between two blocks of a decoder, so that media get on even under a constant load of text.
TEXT_SECONDS_PER_BLOCK = 0.05
#: Seconds that a request takes on average, before any was answered.
DEFAULT_REQUEST_SECONDS = 2.0


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


class _Stopped(Exception):
    """Raised inside a decoder to end its sampling."""


class Engine:
    """Answers requests with one model.

    Args:
        model: an AnyToAny, or a function that returns one: it is called at once in the engine's thread.
        queue_limit: requests that may be unfinished at a time; more are refused.
        batch: requests whose text is generated together.
    """

    def __init__(self, model: AnyToAny | Callable[[], AnyToAny], *, queue_limit: int = 64, batch: int = 8) -> None:
        self.queue_limit, self.batch = queue_limit, batch
        self.model: Future[AnyToAny] = Future()
        self.counts = Counts()
        self._load = (lambda: model) if isinstance(model, AnyToAny) else model
        self._jobs: set[Job] = set()  # unfinished
        self._waiting: deque[Job] = deque()
        self._replies: list[ReplyInProgress] = []  # whose text is being generated
        self._media: deque[PendingMedium] = deque()
        self._calls: deque[Call] = deque()
        self._decoding = False
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

    def submit(self, messages: Sequence[dict[str, Any]], **settings: Any) -> Job:
        """Request a reply to ``messages`` (as :meth:`AnyToAny.chat` takes them); returns at once.

        ``settings`` are fields of :class:`demo.engine.job.Settings`. Raises ValueError for a setting out of range and
        QueueFull. What is wrong with the messages comes as Failed.
        """
        job = Job(messages, Settings(**settings))
        check_settings(job.settings, self._output_modalities())
        with self._changed:
            self._check_open()
            if len(self._jobs) >= self.queue_limit:
                raise QueueFull(self.queue_limit, self.counts.seconds_per_request * len(self._jobs))
            self._jobs.add(job)
            self._waiting.append(job)
            self._changed.notify()
        return job

    def call(self, function: Callable[[AnyToAny], T], *, decodes: bool = False) -> Future[T]:
        """Run ``function`` with the model in the thread that owns it, before the next token.

        One that ``decodes`` media itself waits until no medium is being decoded.
        """
        future: Future[T] = Future()
        with self._changed:
            self._check_open()
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

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed")

    def _output_modalities(self) -> Iterable[str]:
        """What replies may hold; every known medium while the model is being loaded."""
        if not self.ready or self.model.exception():
            return MODALITIES
        return self.model.result().core.config.output_modalities

    # -- the thread that owns the model -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            model = self._load()
            self._batch = TextBatch(model.core, cast(int, model.tokenizer.eos_token_id))
            self.model.set_result(model)
        except BaseException as error:
            self.model.set_exception(error)
        while not self._closed or self._jobs:
            if not self._advance_text() and not self._decode_next():
                with self._changed:
                    self._changed.wait_for(self._has_work)
        for call in self._calls:
            call.future.cancel()

    def _has_work(self) -> bool:
        """Requests under way count as well: one may have arrived and been admitted while a round ended."""
        return bool(self._closed or self._waiting or self._calls or self._replies or self._media)

    def _advance_text(self) -> bool:
        """One round: run calls, admit one request, one token for each reply. Whether there was anything to do."""
        calls = [call for call in list(self._calls) if not (call.decodes and self._decoding)]
        busy = bool(calls or self._waiting or self._replies)
        for call in calls:
            self._calls.remove(call)
            call.run(self.model)
        self._drop_cancelled()
        if self._waiting and len(self._replies) < self.batch:
            self._admit(self._waiting.popleft())
        if self._replies:
            self._step()
        return busy

    def _drop_cancelled(self) -> None:
        """End the requests that were cancelled, at whatever stage they are."""
        for job in [job for job in list(self._waiting) if job.cancelled]:
            self._waiting.remove(job)
            self._end(job, None)
        for reply in [reply for reply in self._replies if reply.job.cancelled]:
            self._batch.remove(reply.row)
            self._replies.remove(reply)
            self._end(reply.job, reply)
        for medium in [medium for medium in self._media if medium.job.cancelled]:
            self._media.remove(medium)
            self._end(medium.job, medium.reply)

    def _admit(self, job: Job) -> None:
        """Read a request's prompt; its reply is generated from the next round on."""
        try:
            reply = ReplyInProgress.start(job, self.model.result(), self._batch)
        except Exception as error:
            self._fail(job, error)
            return
        self._replies.append(reply)
        self._publish_text(reply)

    def _step(self) -> None:
        """One more token for each reply."""
        started, replies = time.perf_counter(), list(self._replies)
        try:
            self._batch.step()
        except Exception as error:  # it is unknown which row caused it
            self._batch, self._replies = TextBatch(self._batch.core, self._batch.end), []
            for reply in replies:
                self._fail(reply.job, error)
            return
        self.counts.tokens += len(replies)
        self.counts.seconds["text"] += time.perf_counter() - started
        for reply in replies:
            self._publish_text(reply)

    def _publish_text(self, reply: ReplyInProgress) -> None:
        """Publish a reply's newest text; when it is complete, queue its media."""
        reply.publish_text()
        if not reply.row.finished:
            return
        self._replies.remove(reply)
        try:
            media = reply.finish_text(self.model.result())
        except Exception as error:
            self._fail(reply.job, error)
            return
        self._media += media
        if not media:
            self._end(reply.job, reply)

    def _decode_next(self) -> bool:
        """Decode the medium that has waited longest. Whether there was one."""
        if not self._media:
            return False
        medium = self._media.popleft()
        if medium.job.done:  # another of its media has failed
            return True
        self._decoding = True
        try:
            self._decode(medium)
        except _Stopped:
            if not medium.job.cancelled:
                medium.job.publish(MediumCancelled(medium.modality, medium.index))
        except Exception as error:
            self._fail(medium.job, error)
        finally:
            self._decoding = False
        if medium.last or medium.job.cancelled:
            self._end(medium.job, medium.reply)
        return True

    def _decode(self, pending: PendingMedium) -> None:
        """Decode a medium and publish its progress. Raises _Stopped when it is cancelled."""
        job, model, settings, modality = pending.job, self.model.result(), pending.job.settings, pending.modality
        self._yield_to_text(pending)
        job.publish(MediumStarted(modality, pending.index))

        def on_progress(modality: str, step: int, total: int) -> None:
            preview = model.decoders[modality].preview() if settings.previews else None
            job.publish(MediumProgress(modality, pending.index, step, total, preview))
            self._yield_to_text(pending)

        [medium] = model.decode(
            modality, pending.request.condition[None], [pending.seed], settings.steps, settings.guidance, on_progress,
            on_block=lambda: self._yield_to_text(pending), words=[pending.request.words],
        )  # fmt: skip
        self.counts.media[modality] += 1
        self.counts.seconds[modality] += medium.seconds
        pending.reply.add_medium(medium)
        job.publish(MediumReady(modality, pending.index, medium))

    def _yield_to_text(self, pending: PendingMedium) -> None:
        """Let waiting text go first, for a while. Raises _Stopped when the medium is cancelled."""
        deadline = time.perf_counter() + TEXT_SECONDS_PER_BLOCK
        while not pending.cancelled and self._advance_text() and time.perf_counter() < deadline:
            pass
        if pending.cancelled:
            raise _Stopped

    def _fail(self, job: Job, error: Exception) -> None:
        client_error = isinstance(error, ConversationError)
        if not client_error and not job.done:
            log.error("a request failed", exc_info=error)
        sentence = str(error) if client_error else "the model failed at this request"
        self._finish(job, "refused" if client_error else "failed", Failed(sentence, client_error))

    def _end(self, job: Job, reply: ReplyInProgress | None) -> None:
        seconds = time.perf_counter() - job.submitted
        nothing = Finished(Reply(""), {"waiting": seconds, "total": seconds}, cancelled=job.cancelled)
        self._finish(job, "cancelled" if job.cancelled else "finished", reply.last_event() if reply else nothing)

    def _finish(self, job: Job, outcome: str, event: Finished | Failed) -> None:
        if job.done:
            return
        self.counts.requests[outcome] += 1
        self.counts.seconds["requests"] += time.perf_counter() - job.submitted
        with self._changed:
            self._jobs.discard(job)
        job.publish(event)
