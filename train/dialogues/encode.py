"""Encode: a conversation becomes a row of token ids, with the media that it shows and those that it asks for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from data.manifest import BadRecord
from data.records import BadRecords, ParsedRecord
from nextgpt_lite.chat_template import check_replies
from nextgpt_lite.conversation import ConversationError, encode
from nextgpt_lite.signal_tokens import SignalTable
from train.dialogues.records import TOYBOX, Conversation, Medium


@dataclass(frozen=True, eq=False)
class Row:
    """One conversation.

    ``ids`` (T,) and the ``assistant_mask`` of those that the assistant says; ``media`` that it shows, in the order of
    their placeholders; by output modality the ``captions`` and the ``targets`` (media, or captions alone) of its signal
    tokens; ``rejected`` the same conversation with the worse last reply. The rest is as in
    :class:`train.dialogues.records.Conversation`.
    """

    ids: list[int]
    assistant_mask: list[int]
    media: list[Medium]
    captions: dict[str, list[str]]
    targets: dict[str, list[Medium]]
    kind: str = ""
    where: str = ""
    source: str = ""
    instruction: bool | None = None
    rejected: "Row | None" = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def replies(self) -> int:
        """How many there are of the assistant's."""
        return sum(now > before for before, now in pairwise([0, *self.assistant_mask]))


@dataclass(frozen=True)
class RowEncoder:
    """Encodes conversations for one model; ``modalities`` are those that its encoder reads, ``longest`` its context.

    ConversationError for a tokenizer whose chat template writes replies that cannot be learned.
    """

    tokenizer: PreTrainedTokenizerBase
    table: SignalTable
    modalities: Sequence[str]
    longest: int | None = None

    def __post_init__(self) -> None:
        check_replies(self.tokenizer)

    def rows(
        self, found: Iterable[Conversation | ParsedRecord], bad: BadRecords, check: Callable[[], None] = lambda: None
    ) -> Iterator[Row]:
        """A row for each conversation that can be used; the others go to ``bad``, each followed by ``check``."""
        for one in found:
            bad.seen += 1
            try:
                if isinstance(one, ParsedRecord):
                    raise BadRecord(one.problem)
                yield self.row(one)
            except BadRecord as error:
                bad.add(one.where, str(error))
                check()

    def row(self, conversation: Conversation) -> Row:
        """One conversation as a row.

        BadRecord where the model has no tokens for it, its encoder does not read it, or it is too long.
        """
        targets = self._targets(conversation)
        try:
            ids, mask, parts = encode(conversation.messages, self.tokenizer, self.table, reply=False)
        except ConversationError as error:
            raise BadRecord(str(error)) from error
        for part in parts:
            if part["type"] not in self.modalities:
                raise BadRecord(f"{part['type']} is shown, and the encoder reads {', '.join(self.modalities)} only")
        if self.longest is not None and conversation.source != TOYBOX and len(ids) > self.longest:
            limit = f"{self.longest:,} that the model reads"
            raise BadRecord(f"the conversation has {len(ids):,} tokens, more than the {limit}")
        captions = {modality: [medium.caption for medium in media] for modality, media in targets.items()}
        media = [part["part"] for part in parts]
        worse = None
        if conversation.rejected:
            last = {"role": "assistant", "content": conversation.rejected}
            worse = self.row(conversation._replace(messages=[*conversation.messages[:-1], last], rejected=()))
        known = conversation.kind, conversation.where, conversation.source, conversation.instruction
        return Row(ids, mask, media, captions, targets, *known, rejected=worse)

    def _targets(self, conversation: Conversation) -> dict[str, list[Medium]]:
        targets: dict[str, list[Medium]] = {modality: [] for modality in self.table.counts}
        for message in conversation.messages:
            for part in message["content"] if message["role"] == "assistant" else ():
                if part["type"] == "text":
                    continue
                if part["type"] not in targets:
                    raise BadRecord(f"the assistant answers with {part['type']}, which this model cannot make")
                targets[part["type"]].append(part["part"])
        return targets
