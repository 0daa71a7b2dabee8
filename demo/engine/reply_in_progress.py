"""A request inside the engine: a reply whose text grows, then the media that it asks for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from demo.engine.events import Finished, TextDelta
from demo.engine.job import Job, Settings
from nextgpt_lite import AnyToAny, Reply, ReplyMedium
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.conversation_media import MediaRequest
from nextgpt_lite.generate import LANGUAGES, Row, Sampling, TextBatch, TextStream, disallowed_first_tokens

#: Least and greatest value of each number that a request may set.
RANGES = {
    "seed": (0, 2**63 - 1),
    "steps": (1, 100),
    "guidance": (0.0, 30.0),
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "max_new_tokens": (1, 192),
}


def check_settings(settings: Settings, modalities: Iterable[str]) -> None:
    """ValueError for a setting out of range. ``modalities`` are those that replies may hold."""
    for name, (least, greatest) in RANGES.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= greatest:
            raise ValueError(f"{name} is {value}: expected {least} to {greatest}")
    known, required = list(modalities), settings.required_modality
    for modality in (*(settings.allowed_media or ()), *([required] if required else [])):
        if modality not in known:
            raise ValueError(f"a reply cannot hold {modality!r}: expected {', '.join(known)}")
    if settings.language is not None and settings.language not in LANGUAGES:
        raise ValueError(f"language is {settings.language!r}: expected {' or '.join(LANGUAGES)}")


@lru_cache(maxsize=4)
def _disallowed_first(model: AnyToAny, language: str) -> torch.Tensor:
    return disallowed_first_tokens(model.tokenizer, model.table, language).to(model.device)


@dataclass(eq=False)
class ReplyInProgress:
    """A reply that is being generated. ``row`` has its tokens, ``reply`` what was generated so far.

    ``unfinished`` counts the media that are still to come.
    """

    job: Job
    row: Row
    stream: TextStream
    reply: Reply
    timings: dict[str, float] = field(default_factory=dict)
    published: str = ""  # text
    unfinished: int = 0
    made: dict[int, ReplyMedium] = field(default_factory=dict)

    @classmethod
    def start(cls, job: Job, model: AnyToAny, batch: TextBatch) -> ReplyInProgress:
        """Add the reply to the batch, once the messages are prepared. ConversationError for what is wrong with them."""
        waiting = time.perf_counter() - job.submitted
        settings, required = job.settings, job.settings.required_modality
        if required and required not in model.table.spans:
            raise ConversationError(f"this model does not generate {required}")
        prepared = job.prepared.result()
        disallowed = _disallowed_first(model, settings.language) if settings.language else None
        sampling = Sampling(
            settings.max_new_tokens, settings.temperature, settings.seed, disallowed, required, settings.top_p
        )
        [row] = batch.add([(prepared, sampling)])
        reply = Reply("", dropped_turns=prepared.dropped_turns)
        stream = TextStream(model.tokenizer, model.table, lambda text: setattr(reply, "text", text))
        return cls(job, row, stream, reply, {"waiting": waiting})

    def publish_text(self) -> None:
        """Publish what the newest tokens add to the text."""
        self.stream.update(self.row)
        text = self.reply.text
        if text != self.published and text.startswith(self.published):  # tokenizers may take a character back
            self.timings.setdefault("first_token", time.perf_counter() - self.job.submitted)
            self.job.publish(TextDelta(text[len(self.published) :]))
            self.published = text

    def finish_text(self, model: AnyToAny) -> list[PendingMedium]:
        """Publish the rest of the text; returns the media that the reply asks for and may hold."""
        self.reply, requests = model.read(self.row)
        self.publish_text()
        self.timings["text"] = self.reply.seconds["text"] = time.perf_counter() - self.job.submitted
        settings = self.job.settings
        allowed = [(number, each) for number, each in enumerate(requests) if settings.allows(each.modality)]
        self.unfinished = len(allowed)
        return [
            PendingMedium(self, index, request, settings.seed + number)
            for index, (number, request) in enumerate(allowed)
        ]

    def add_medium(self, pending: PendingMedium, medium: ReplyMedium) -> None:
        """Add a finished medium to the reply; media of different kinds may come in another order."""
        medium.position = pending.request.position
        self.made[pending.index] = medium
        self.reply.media = [medium for _, medium in sorted(self.made.items(), key=lambda each: each[0])]
        self.reply.seconds[medium.modality] = self.timings[medium.modality] = medium.seconds

    def last_event(self) -> Finished:
        """The last event of the request."""
        timings = self.timings | {"total": time.perf_counter() - self.job.submitted}
        return Finished(self.reply, timings, len(self.row.ids), len(self.row.prepared.ids), self.job.cancelled)


@dataclass(frozen=True, eq=False)
class PendingMedium:
    """A medium that is to be decoded: the ``index``-th of those that its reply may hold."""

    reply: ReplyInProgress
    index: int
    request: MediaRequest
    seed: int

    @property
    def modality(self) -> str:
        return self.request.modality

    @property
    def job(self) -> Job:
        return self.reply.job

    @property
    def kind(self) -> tuple[str, int | None, float | None]:
        """Media of one kind can be decoded together."""
        return self.modality, self.job.settings.steps, self.job.settings.guidance

    @property
    def cancelled(self) -> bool:
        return self.job.medium_cancelled(self.index)
