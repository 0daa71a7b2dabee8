"""Puts cases to the model, turn by turn with its own replies between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from evaluation import Settings
from evaluation.samples import Samples, plan_of
from nextgpt_lite import AnyToAny, Reply


class Asked(Protocol):
    """What a case must have: the content of each user turn, and the seed of the replies."""

    @property
    def turns(self) -> tuple[list[dict[str, Any]], ...]: ...

    @property
    def seed(self) -> int: ...


@dataclass
class LastMessage:
    """A case whose ``messages`` end with the question; what was said before it stands as it is."""

    messages: list[dict[str, Any]]

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was said before the question."""
        return self.messages[:-1]

    @property
    def turns(self) -> tuple[list[dict[str, Any]], ...]:
        """The question itself."""
        return (self.messages[-1]["content"],)


C = TypeVar("C", bound=Asked)
#: Conversations that are put at once.
BATCH = 16


@dataclass
class ConversationRun(Generic[C]):
    """A case as it went: ``replies`` of the model, one a user turn, and what classifiers see in them.

    ``predictions[turn]`` lists (modality, attributes) of the media in that turn's reply.
    """

    case: C
    messages: list[dict[str, Any]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    predictions: list[list[tuple[str, dict[str, Any]]]] = field(default_factory=list)

    def recall(self, replies: Sequence[Reply]) -> None:
        """The conversation as it went with these replies."""
        for content, reply in zip(self.case.turns, replies, strict=True):
            self.messages.append({"role": "user", "content": content})
            self.replies.append(reply)
            self.messages.append(reply.as_message())


def run_cases(
    model: AnyToAny, cases: Sequence[C], samples: Samples | None = None, part: tuple[int, int] = (0, 1)
) -> list[ConversationRun[C]]:
    """All conversations, a batch at a time: neighbours request the same medium, so decoder batches are full.

    Those whose ``samples`` are kept are not put again. Of ``part`` (i, n) each n-th batch is run, from the i-th on.
    """
    runs = [ConversationRun(case, messages=[*getattr(case, "history", ())]) for case in cases]
    batches = [range(start, min(start + BATCH, len(runs))) for start in range(0, len(runs), BATCH)][part[0] :: part[1]]
    with tqdm(total=sum(map(len, batches)), desc="conversations") as bar:
        for numbers in batches:
            kept = [samples.replies(number) if samples else None for number in numbers]
            if any(replies is None for replies in kept):
                answer(model, [runs[number] for number in numbers])
                if samples:
                    samples.add({number: runs[number] for number in numbers})
            else:
                for number, replies in zip(numbers, kept, strict=True):
                    runs[number].recall(replies or [])
            bar.update(len(numbers))
    return [runs[number] for numbers in batches for number in numbers]


def answered(
    settings: Settings, suite: str, model: AnyToAny, cases: Sequence[C], **more: Any
) -> list[ConversationRun[C]]:
    """The conversations of a suite, kept in ``settings.out`` while they run (:mod:`evaluation.samples`).

    ``more`` is what the run is of beside the suite's cases and the model.
    """
    plan = plan_of(suite, model, cases, seed=settings.seed, count=settings.count, **more)
    return run_cases(model, cases, Samples(settings.out, plan), settings.part)


def answer(model: AnyToAny, batch: Sequence[ConversationRun[Any]]) -> None:
    """All turns of these conversations."""
    for turn in range(max(len(run.case.turns) for run in batch)):
        take_turn(model, [run for run in batch if turn < len(run.case.turns)], turn)


def take_turn(model: AnyToAny, runs: Sequence[ConversationRun[C]], turn: int) -> None:
    """User turn number ``turn`` of each conversation and the model's replies, in one batch."""
    for run in runs:
        run.messages.append({"role": "user", "content": run.case.turns[turn]})
    seeds = [run.case.seed + 1000 * turn for run in runs]
    replies = model.chat_batch([run.messages for run in runs], seeds=seeds)
    for run, reply in zip(runs, replies, strict=True):
        run.replies.append(reply)
        run.messages.append(reply.as_message())
