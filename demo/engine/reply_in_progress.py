"""What becomes of a request inside the engine: a reply that grows, then the media that it asks for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from demo.engine.job import Finished, Job, Settings, TextDelta
from nextgpt_lite import AnyToAny, Reply, ReplyMedium
from nextgpt_lite.answer_language import LANGUAGES, silent_openings
from nextgpt_lite.any_to_any import Wanted
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.generate import TextStream
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES
from nextgpt_lite.text_batch import Row, Sampling, TextBatch

#: Least and most of each number that a request may set.
RANGES = {
    "seed": (0, 2**63 - 1),
    "steps": (1, 100),
    "guidance": (0.0, 30.0),
    "temperature": (0.0, 2.0),
    "max_new_tokens": (1, 192),
}


def check(settings: Settings) -> None:
    """ValueError, naming value and range, for a setting that is not possible."""
    for name, (least, most) in RANGES.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"{name} is {value}: expected {least} to {most}")
    known = ", ".join(OUTPUT_MODALITIES)
    for modality in (*settings.allowed_media, *([settings.demanded] if settings.demanded else [])):
        if modality not in OUTPUT_MODALITIES:
            raise ValueError(f"a reply cannot hold {modality!r}: expected {known}")
    if settings.language is not None and settings.language not in LANGUAGES:
        raise ValueError(f"language is {settings.language!r}: expected {' or '.join(LANGUAGES)}")


def refused(error: Exception) -> bool:
    """Whether an error is the request's fault."""
    return isinstance(error, ConversationError)


@lru_cache(maxsize=4)
def _silent_openings(model: AnyToAny, language: str) -> torch.Tensor:
    return silent_openings(model.tokenizer, model.table, language).to(model.device)


@dataclass(eq=False)
class Talk:
    """A reply in the making. ``row`` has its tokens, ``reply`` what is there of it, ``told`` the text told so far."""

    job: Job
    row: Row
    stream: TextStream
    reply: Reply
    timings: dict[str, float] = field(default_factory=dict)
    streamed: int = 0  # tokens
    told: str = ""

    @classmethod
    def begin(cls, job: Job, model: AnyToAny, texts: TextBatch) -> Talk:
        """Read the messages. ConversationError for what cannot be understood."""
        waiting = time.perf_counter() - job.submitted
        settings, table = job.settings, model.table
        if settings.demanded and settings.demanded not in table.spans:
            raise ConversationError(f"this model makes no {settings.demanded}")
        prepared = model.prepare(job.messages)
        silent = _silent_openings(model, settings.language) if settings.language else None
        row = texts.add(prepared, Sampling(settings.max_new_tokens, settings.temperature, settings.seed, silent))
        reply = Reply("", dropped_turns=prepared[2])
        stream = TextStream(model.tokenizer, table, lambda text: setattr(reply, "text", text), prompt_seen=True)
        return cls(job, row, stream, reply, {"waiting": waiting})

    def tell(self) -> None:
        """Tell what the newest tokens add to the text."""
        if self.streamed < len(self.row.ids):
            self.stream.put(torch.tensor(self.row.ids[self.streamed :]))
            self.streamed = len(self.row.ids)
            self._tell_growth()

    def read(self, model: AnyToAny) -> list[Asked]:
        """Tell the rest of the text; which media the reply asks for."""
        ids, settings = self.row.ids, self.job.settings
        span = model.table.spans[settings.demanded] if settings.demanded else range(0)
        if span and span.start not in ids:
            ids = [*ids, *span]
        [(self.reply, wanted)] = model.read([self.row.prepared], [ids])
        self._tell_growth()
        self.timings["text"] = self.reply.seconds["text"] = time.perf_counter() - self.job.submitted
        allowed = [(number, each) for number, each in enumerate(wanted) if each.modality in settings.allowed_media]
        return [
            Asked(self, index, each, settings.seed + number, index == len(allowed) - 1)
            for index, (number, each) in enumerate(allowed)
        ]

    def take(self, medium: ReplyMedium) -> None:
        """A medium of the reply is done."""
        self.reply.media.append(medium)
        self.reply.seconds[medium.modality] = self.timings[medium.modality] = medium.seconds

    def ending(self) -> Finished:
        """The last event of the request."""
        timings = self.timings | {"total": time.perf_counter() - self.job.submitted}
        return Finished(self.reply, timings, len(self.row.ids), len(self.row.prepared[0]), self.job.cancelled)

    def _tell_growth(self) -> None:
        """A delta is told only where the text goes on from what was told: tokenizers may take a character back."""
        text = self.reply.text
        if text != self.told and text.startswith(self.told):
            self.timings.setdefault("first_token", time.perf_counter() - self.job.submitted)
            self.job.tell(TextDelta(text[len(self.told) :]))
            self.told = text


@dataclass(frozen=True, eq=False)
class Asked:
    """A medium that a reply asks for: the ``index``-th of those that it may hold."""

    talk: Talk
    index: int
    wanted: Wanted
    seed: int
    last: bool

    @property
    def modality(self) -> str:
        return self.wanted.modality

    @property
    def job(self) -> Job:
        return self.talk.job

    @property
    def cancelled(self) -> bool:
        return self.job.medium_cancelled(self.index)
