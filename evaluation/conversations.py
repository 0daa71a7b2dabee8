"""Puts cases to the model, turn by turn with its own replies between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from nextgpt_lite import AnyToAny, Reply


class Asked(Protocol):
    """What a case must have: the content of each user turn, and the seed of the replies."""

    @property
    def turns(self) -> tuple[list[dict[str, Any]], ...]: ...

    @property
    def seed(self) -> int: ...


C = TypeVar("C", bound=Asked)


@dataclass
class ConversationRun(Generic[C]):
    """A case as it went: ``replies`` of the model, one a user turn, and what classifiers see in them.

    ``predictions[turn]`` lists (modality, attributes) of the media in that turn's reply.
    """

    case: C
    messages: list[dict[str, Any]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    predictions: list[list[tuple[str, dict[str, Any]]]] = field(default_factory=list)


def run_cases(model: AnyToAny, cases: Sequence[C], batch_size: int = 16) -> list[ConversationRun[C]]:
    """All conversations, ``batch_size`` at a time: neighbours request the same medium, so decoder batches are full."""
    runs = [ConversationRun(case) for case in cases]
    with tqdm(total=len(runs), desc="conversations") as bar:
        for start in range(0, len(runs), batch_size):
            batch = runs[start : start + batch_size]
            for turn in range(max(len(run.case.turns) for run in batch)):
                take_turn(model, [run for run in batch if turn < len(run.case.turns)], turn)
            bar.update(len(batch))
    return runs


def take_turn(model: AnyToAny, runs: Sequence[ConversationRun[C]], turn: int) -> None:
    """User turn number ``turn`` of each conversation and the model's replies, in one batch."""
    for run in runs:
        run.messages.append({"role": "user", "content": run.case.turns[turn]})
    seeds = [run.case.seed + 1000 * turn for run in runs]
    replies = model.chat_batch([run.messages for run in runs], seeds=seeds)
    for run, reply in zip(runs, replies, strict=True):
        run.replies.append(reply)
        run.messages.append(reply.as_message())
