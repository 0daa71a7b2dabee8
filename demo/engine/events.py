"""The events of a request, in the order in which they happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nextgpt_lite import Reply, ReplyMedium


@dataclass(frozen=True)
class TextDelta:
    """Text that was added to the reply."""

    text: str


@dataclass(frozen=True, eq=False)
class MediumEvent:
    """An event of a medium. ``index`` counts the media of this reply from 0."""

    modality: str
    index: int


class MediumStarted(MediumEvent):
    """The decoder starts a medium."""


@dataclass(frozen=True, eq=False)
class MediumProgress(MediumEvent):
    """``step`` of ``total`` diffusion steps are done.

    ``preview`` is an image (H, W, 3) uint8 of the medium so far: of a video its middle frame, of audio its spectrogram.
    None if the decoder has none.
    """

    step: int
    total: int
    preview: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class MediumReady(MediumEvent):
    """A medium is finished."""

    medium: ReplyMedium


class MediumCancelled(MediumEvent):
    """A medium was stopped by :meth:`demo.engine.job.Job.cancel_medium`; the reply goes on without it."""


@dataclass(frozen=True, eq=False)
class Finished:
    """The last event of a request that did not fail.

    ``timings`` are seconds: "waiting" until the engine admitted the request, "first_token" and "text" since it was
    submitted, one per modality generated, "total". ``tokens`` counts the reply's tokens, ``prompt_tokens`` those of the
    conversation. Of a ``cancelled`` request ``reply`` holds what was generated so far.
    """

    reply: Reply
    timings: dict[str, float]
    tokens: int = 0
    prompt_tokens: int = 0
    cancelled: bool = False


@dataclass(frozen=True)
class Failed:
    """The last event of a request that failed: a sentence for its client, and whether the request was at fault."""

    sentence: str
    client_error: bool = False


Event = TextDelta | MediumStarted | MediumProgress | MediumReady | MediumCancelled | Finished | Failed
