"""The chat: a message is sent, its reply streams, and can be stopped, edited and requested again.

Handlers are plain functions of a visitor; demo.page.chat_tab connects them to components.
"""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from demo.engine.events import Failed
from demo.engine.job import QueueFull
from demo.engine.model_pool import ModelPool
from demo.page.components.composer import MAX_TEXT, composer, draft, draft_of, notice
from demo.page.components.conversation_list import conversation_list
from demo.page.components.thread import thread
from demo.page.conversations import Conversation
from demo.page.errors import sentence
from demo.page.turns import RefusedFile, Turn
from demo.page.visitors import Visitor
from demo.texts import translate
from nextgpt_lite.conversation_media import CHAT_ERRORS

#: What a handler gives the page: the conversation, the field, the list of conversations.
Shown = tuple[Any, Any, Any]


class Chat:
    """What happens in the chat. Each method that answers is a generator of what the page shows.

    ``settings`` are keywords of the engine's ``submit``, ``model`` is a name of the pool.
    """

    def __init__(self, pool: ModelPool) -> None:
        self.pool = pool

    def send(
        self, visitor: Visitor, text: str, files: list[str], settings: dict[str, Any], model: str, editing: Any = None
    ) -> Iterator[Shown]:
        """A message. With ``editing``, the number of a turn, it replaces that turn and all that came after it."""
        conversation, text = visitor.current, text.strip()[:MAX_TEXT]
        number = editing if isinstance(editing, int) and 0 <= editing < len(conversation.turns) else None
        if conversation.running:
            yield self.refuse(visitor, translate(visitor.language, "busy"), draft(text, files, number))
        elif not text and not files:
            yield self.refuse(visitor, translate(visitor.language, "empty_message"))
        else:
            try:
                turn = conversation.read_message(text, files)
            except CHAT_ERRORS as error:
                refused = error.file if isinstance(error, RefusedFile) else None
                left = draft(text, [file for file in files if file != refused], number)
                yield self.refuse(visitor, sentence(visitor.language, error), left)
                return
            yield from self._answer(visitor, turn, settings, model, number)

    def again(self, visitor: Visitor, settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """Answer the last message again, with the next seed if nothing else has changed."""
        conversation = visitor.current
        if conversation.running or not conversation.turns:
            yield self.refuse(visitor, translate(visitor.language, "busy"))
            return
        turn = conversation.turns[-1]
        if settings == turn.settings or settings | {"seed": 0} == turn.settings | {"seed": 0}:
            settings = settings | {"seed": turn.settings["seed"] + 1}
        yield from self._answer(visitor, turn, settings, model, len(conversation.turns) - 1)

    def edit(self, visitor: Visitor, number: int) -> Shown:
        """Put a message into the field, to be changed; the conversation stays until it is sent."""
        conversation = visitor.current
        if conversation.running or not 0 <= number < len(conversation.turns):
            return self.refuse(visitor, translate(visitor.language, "busy"))
        return gr.skip(), self._composer(visitor, restore=draft_of(conversation.turns[number], number)), gr.skip()

    def resume(self, visitor: Visitor, model: str) -> Iterator[Shown]:
        """Show the current conversation, and a reply that is being generated until it ends."""
        conversation = visitor.current
        yield self.shown(visitor)
        if conversation.running:
            yield from self._watch(visitor, conversation, conversation.turns[-1], model)

    def stop(self, visitor: Visitor) -> None:
        visitor.current.stop()

    def cancel_medium(self, visitor: Visitor, index: int) -> None:
        """Stop generating one medium of the reply; the others go on."""
        if running := visitor.current.running:
            running.job.cancel_medium(index)

    def shown(self, visitor: Visitor, **state: Any) -> Shown:
        """The page for the visitor's current conversation."""
        return self._thread(visitor, None), self._composer(visitor, **state), conversation_list(visitor)

    def refuse(self, visitor: Visitor, reason: str, restore: dict[str, Any] | None = None) -> Shown:
        """Show the reason above the field, and leave the conversation as it is. ``restore``: the message again."""
        shown = self._composer(visitor, notice=notice(visitor.language, reason), restore=restore)
        return gr.skip(), shown, gr.skip()

    def _answer(
        self, visitor: Visitor, turn: Turn, settings: dict[str, Any], model: str, replaced: int | None = None
    ) -> Iterator[Shown]:
        """Show the message at once, whether or not the model is loaded; then request the reply and watch it.

        It takes the place of turn ``replaced`` and of all behind it, if the reply can be requested.
        """
        conversation = visitor.current
        before = list(conversation.turns)
        if replaced is not None:
            del conversation.turns[replaced:]
        kept, turn.streamed, turn.kept = turn.kept, None, None
        shown = thread(conversation, visitor.language, self._waiting(visitor, model), turn)
        yield shown, self._composer(visitor, running=True), gr.skip()
        try:
            conversation.request_reply(turn, self.pool.engine(model), settings)
        except Exception as error:
            conversation.turns[:], turn.kept = before, kept
            expected = isinstance(error, (*CHAT_ERRORS, QueueFull))
            reason = sentence(visitor.language, error) if expected else translate(visitor.language, "not_accepted")
            _, field, _ = self.refuse(visitor, reason, None if turn in before else draft_of(turn, replaced))
            yield self._thread(visitor, model), field, conversation_list(visitor)
            if not expected:
                raise
            return
        yield self._thread(visitor, model), gr.skip(), conversation_list(visitor)
        yield from self._watch(visitor, conversation, turn, model)

    def _watch(self, visitor: Visitor, conversation: Conversation, turn: Turn, model: str) -> Iterator[Shown]:
        """The reply as it grows, as long as the visitor stays in its conversation."""
        streamed = turn.streamed
        if streamed is None:
            return
        for _ in streamed.watch():
            if visitor.current is not conversation:
                return
            yield self._thread(visitor, model), gr.skip(), gr.skip()
        if isinstance(streamed.last, Failed):
            reason = sentence(visitor.language, streamed.last.sentence)
            _, field, _ = self.refuse(visitor, reason, draft_of(turn))
            yield self._thread(visitor, model), field, conversation_list(visitor)
            return
        state = {}
        if turn.reply and turn.reply.dropped_turns:
            dropped = translate(visitor.language, "dropped", count=turn.reply.dropped_turns)
            state = {"notice": notice(visitor.language, dropped, "note")}
        yield self.shown(visitor, **state)

    def _thread(self, visitor: Visitor, model: str | None) -> list[str]:
        return thread(visitor.current, visitor.language, self._waiting(visitor, model))

    def _composer(self, visitor: Visitor, **state: Any) -> dict[str, Any]:
        conversation = visitor.current
        facts = {"conversation": conversation.identity, "running": conversation.running is not None}
        return composer(visitor.language, **facts | state)

    def _waiting(self, visitor: Visitor, model: str | None) -> str:
        """What is said before the first token."""
        return translate(visitor.language, "thinking" if self.pool.ready(model) else "loading")
