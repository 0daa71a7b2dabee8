"""One model for all clients: a bounded queue, text and media generated in batches, cancelling.

    engine = Engine(AnyToAny.from_pretrained("nano"))
    for event in engine.submit([{"role": "user", "content": "Draw a red bell."}], seed=3):
        ...

Messages are prepared (tokenised, their media embedded) in threads of their own. One thread generates with the model. It
repeats: admit a request, generate one token for each reply, and, while no text waits, decode the medium that has waited
longest together with others of its kind. Between two blocks of a decoder's network waiting text goes first, so that
nobody waits for another client's video before reading the first word.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

from data.modalities import MODALITIES
from demo.engine.events import Failed, Finished, MediumCancelled, MediumProgress, MediumReady, MediumStarted
from demo.engine.job import Call, Counts, Job, QueueFull, Settings
from demo.engine.reply_in_progress import PendingMedium, ReplyInProgress, check_settings
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.any_to_any import set_num_threads
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.generate import TextBatch

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Seconds that text may take between two blocks of a decoder, so that media get on even under a constant load of text.
TEXT_SECONDS_PER_BLOCK = 0.05
#: Media that are decoded together, at most, and messages that are prepared at a time.
MEDIA_BATCH, READERS = 4, 2


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
        self.queue_limit, self.batch, self.media_batch = queue_limit, batch, MEDIA_BATCH
        self.model: Future[AnyToAny] = Future()
        self.counts = Counts()
        self._load = (lambda: model) if isinstance(model, AnyToAny) else model
        self._jobs: set[Job] = set()  # unfinished
        self._waiting: deque[Job] = deque()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._replies: list[ReplyInProgress] = []  # whose text is being generated
        self._media: deque[PendingMedium] = deque()
        self._calls: deque[Call] = deque()
        self._decoding: list[PendingMedium] = []  # together, those that were cancelled left out
        self._warm_up: Future[None] | None = None
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
        self._readers.submit(self._prepare, job)
        return job

    def read(self, function: Callable[[AnyToAny], T]) -> Future[T]:
        """Run ``function`` with the model beside the thread that generates: it may read with it and nothing else."""
        self._check_open()
        return self._readers.submit(lambda: function(self._model_to_read_with()))

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

        self._warm_up = self.call(load)
        return self._warm_up

    def close(self) -> None:
        """Cancel everything and let the thread end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for job in list(self._jobs):
            job.cancel()
        self._thread.join()
        self._readers.shutdown(cancel_futures=True)

    def _prepare(self, job: Job) -> None:
        """Prepare a request's messages in a thread of its own: nobody else waits while they are read."""
        try:
            model = self._model_to_read_with()
            if not job.cancelled:
                job.prepared.set_result(model.prepare(job.messages))
        except Exception as error:
            job.prepared.set_exception(error)
        with self._changed:
            self._changed.notify()

    def _model_to_read_with(self) -> AnyToAny:
        """The model in another thread, not before it is warmed up: its parts are loaded in one thread only."""
        model = self.model.result()
        wait([self._warm_up] if self._warm_up else [])
        return set_num_threads(model)

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
            self._batch = TextBatch(model.core, model.end_tokens, model.decoding)
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
        ready = any(job.prepared.done() or job.cancelled for job in list(self._waiting))
        return bool(self._closed or ready or self._calls or self._replies or self._media)

    def _advance_text(self) -> bool:
        """One round: run calls, admit one request, one token for each reply. Whether there was anything to do."""
        calls = [call for call in list(self._calls) if not (call.decodes and self._decoding)]
        ready = [job for job in list(self._waiting) if job.prepared.done()]
        busy = bool(calls or ready or self._replies)
        for call in calls:
            self._calls.remove(call)
            call.run(self.model)
        self._drop_cancelled()
        if ready and not ready[0].done and len(self._replies) < self.batch:
            self._waiting.remove(ready[0])
            self._admit(ready[0])
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
            self._batch, self._replies = TextBatch(self._batch.core, self._batch.end, self._batch.decoding), []
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
        """Decode the medium that has waited longest, and others of its kind with it. Whether there was one."""
        waiting = [medium for medium in self._media if not medium.job.done]  # another medium of a job may have failed
        batch = [medium for medium in waiting if medium.kind == waiting[0].kind][: self.media_batch]
        self._media = deque(medium for medium in waiting if medium not in batch)
        if not batch:
            return False
        self._decoding = batch
        try:
            self._decode()
        except _Stopped:
            pass
        except Exception as error:
            self._give_up(error)
        finally:
            self._decoding = []
        return True

    def _decode(self) -> None:
        """Decode the media of the batch and publish their progress. Raises _Stopped when all of them are cancelled."""
        self._yield_to_text()
        batch, model = list(self._decoding), self.model.result()
        modality, steps, guidance = batch[0].kind
        for pending in batch:
            pending.job.publish(MediumStarted(modality, pending.index))

        def on_progress(modality: str, step: int, total: int) -> None:
            for pending in self._decoding:
                place = batch.index(pending) * model.candidates.get(modality, 1)
                preview = model.decoders[modality].preview(place) if pending.job.settings.previews else None
                pending.job.publish(MediumProgress(modality, pending.index, step, total, preview))
            self._yield_to_text()

        conditions, words = torch.stack([each.request.condition for each in batch]), [m.request.words for m in batch]
        media = model.decode(
            modality, conditions, [each.seed for each in batch], steps, guidance, on_progress,
            on_block=self._yield_to_text, words=words,
        )  # fmt: skip
        for pending, medium in zip(batch, media, strict=True):
            if pending in self._decoding:
                self.counts.media[modality] += 1
                self.counts.seconds[modality] += medium.seconds
                pending.reply.add_medium(pending, medium)
                self._settle(pending, MediumReady(modality, pending.index, medium))

    def _give_up(self, error: Exception) -> None:
        """Fail the medium that could not be decoded; of several try fewer together, for which there may be memory."""
        if len(self._decoding) == 1:
            self._fail(self._decoding[0].job, error)
            return
        log.warning("%d media cannot be decoded together: %s", len(self._decoding), error)
        self.media_batch = max(1, len(self._decoding) // 2)
        self._media.extendleft(reversed(self._decoding))

    def _settle(self, pending: PendingMedium, event: MediumReady | MediumCancelled) -> None:
        """Publish what became of a medium. With the last one its request ends."""
        if not pending.job.cancelled:
            pending.job.publish(event)
        pending.reply.unfinished -= 1
        if pending.job.cancelled or not pending.reply.unfinished:
            self._end(pending.job, pending.reply)

    def _yield_to_text(self) -> None:
        """Let waiting text go first, for a while. Raises _Stopped when all media of the batch are cancelled."""
        deadline = time.perf_counter() + TEXT_SECONDS_PER_BLOCK
        while self._advance_text() and time.perf_counter() < deadline:
            pass
        for pending in [each for each in self._decoding if each.cancelled]:
            self._decoding.remove(pending)
            self._settle(pending, MediumCancelled(pending.modality, pending.index))
        if not self._decoding:
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
