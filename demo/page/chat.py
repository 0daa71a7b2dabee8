"""The chat: a message is sent, its reply streams, and can be stopped, edited and requested again.

Handlers are plain functions of a visitor; demo.page.chat_tab connects them to components.
"""

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from demo.engine.events import Failed
from demo.engine.job import QueueFull
from demo.engine.model_pool import ModelPool
from demo.page.conversations import Conversation
from demo.page.turns import Turn
from demo.page.visitors import Visitor
from demo.texts import translate
from nextgpt_lite.conversation_media import CHAT_ERRORS

#: What a handler gives the page: the chat's bubbles, the text box, the list of conversations.
Shown = tuple[Any, Any, Any]
#: The longest message, in characters.
MAX_TEXT = 4000


class Chat:
    """What happens in the chat. Each method that answers is a generator of what the page shows.

    ``settings`` are keywords of the engine's ``submit``, ``model`` is a name of the pool.
    """

    def __init__(self, pool: ModelPool) -> None:
        self.pool = pool

    def send(self, visitor: Visitor, value: dict[str, Any], settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """A message of the text box: ``{"text", "files"}``."""
        text, files = (value.get("text") or "").strip()[:MAX_TEXT], list(value.get("files") or [])
        if visitor.current.running:
            yield self.refuse(visitor, translate(visitor.language, "busy"))
        elif not text and not files:
            yield self.refuse(visitor, translate(visitor.language, "empty_message"))
        else:
            yield from self._begin(visitor, text, files, settings, model)

    def again(self, visitor: Visitor, settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """Answer the last message again, with the next seed if nothing else has changed."""
        conversation = visitor.current
        if conversation.running or not conversation.turns:
            yield self.refuse(visitor, translate(visitor.language, "busy"))
            return
        turn = conversation.take_back()
        if settings == turn.settings or settings | {"seed": 0} == turn.settings | {"seed": 0}:
            settings = settings | {"seed": turn.settings["seed"] + 1}
        yield from self._answer(visitor, turn, settings, model)

    def edit(self, visitor: Visitor, bubble: int, text: str, settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """Change a message: its files stay, what came after it is removed."""
        conversation, number = visitor.current, bubble // 2
        if conversation.running or number >= len(conversation.turns) or not text.strip():
            yield self.refuse(visitor, translate(visitor.language, "busy"))
            return
        files = [str(file) for file in conversation.take_back(number).files]
        yield from self._begin(visitor, text.strip()[:MAX_TEXT], files, settings, model)

    def undo(self, visitor: Visitor) -> Shown:
        """Move the last message back into the text box and remove its reply."""
        conversation = visitor.current
        if conversation.running or not conversation.turns:
            return self.refuse(visitor, translate(visitor.language, "busy"))
        turn = conversation.take_back()
        return self.shown(visitor)[0], gr.MultimodalTextbox(value=_as_sent(turn)), gr.skip()

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

    def shown(self, visitor: Visitor, model: str | None = None) -> Shown:
        """The page for the visitor's current conversation."""
        bubbles = visitor.current.bubbles(visitor.language, self._waiting(visitor, model))
        running = visitor.current.running is not None
        box = gr.MultimodalTextbox(submit_btn=not running, stop_btn=running, interactive=True)
        return bubbles, box, conversation_list(visitor)

    def refuse(self, visitor: Visitor, reason: Exception | str) -> Shown:
        """Show the reason in a toast and leave the page as it is. Names of files are not read as HTML."""
        gr.Warning(html.escape(str(reason)), title=translate(visitor.language, "did_not_work"))
        return gr.skip(), gr.skip(), gr.skip()

    def _begin(self, visitor: Visitor, text: str, files: list[str], settings, model: str) -> Iterator[Shown]:
        try:
            turn = visitor.current.read_message(text, files)
        except CHAT_ERRORS as error:
            yield self.refuse(visitor, error)
            return
        yield from self._answer(visitor, turn, settings, model)

    def _answer(self, visitor: Visitor, turn: Turn, settings, model: str) -> Iterator[Shown]:
        """Show the message at once, whether or not the model is loaded; then request the reply and watch it."""
        conversation, waiting = visitor.current, self._waiting(visitor, model)
        turn.streamed = turn.kept = None
        bubbles = [each for part in (conversation, turn) for each in part.bubbles(visitor.language, waiting)]
        yield bubbles, gr.MultimodalTextbox(value=None, submit_btn=False, stop_btn=True), gr.skip()
        try:
            conversation.request_reply(turn, self.pool.engine(model), settings)
        except Exception as error:
            yield self._restored(visitor, conversation, turn)
            if not isinstance(error, (*CHAT_ERRORS, QueueFull)):
                raise
            self.refuse(visitor, error)
            return
        yield from self._watch(visitor, conversation, turn, model)

    def _watch(self, visitor: Visitor, conversation: Conversation, turn: Turn, model: str) -> Iterator[Shown]:
        """The reply as it grows, as long as the visitor stays in its conversation."""
        streamed = turn.streamed
        if streamed is None:
            return
        for _ in streamed.watch():
            if visitor.current is not conversation:
                return
            yield conversation.bubbles(visitor.language, self._waiting(visitor, model)), gr.skip(), gr.skip()
        if isinstance(streamed.last, Failed):
            yield self._restored(visitor, conversation, turn)
            self.refuse(visitor, streamed.last.sentence)
            return
        if turn.reply and turn.reply.dropped_turns:
            gr.Info(translate(visitor.language, "dropped", count=turn.reply.dropped_turns))
        yield self.shown(visitor)

    def _restored(self, visitor: Visitor, conversation: Conversation, turn: Turn) -> Shown:
        """The conversation as it was, and the message back in the text box."""
        box = gr.MultimodalTextbox(value=_as_sent(turn), submit_btn=True, stop_btn=False)
        return conversation.bubbles(visitor.language, ""), box, gr.skip()

    def _waiting(self, visitor: Visitor, model: str | None) -> str:
        """What stands in a bubble before the first token."""
        return "…" if self.pool.ready(model) else translate(visitor.language, "loading")


def conversation_list(visitor: Visitor) -> Any:
    """The visitor's conversations, the newest first, the current one chosen."""
    choices = [(title, identity) for identity, title in reversed(visitor.conversations.items())]
    return gr.Radio(choices=choices, value=visitor.current.identity)


def _as_sent(turn: Turn) -> dict[str, Any]:
    """A user's message as the text box holds it."""
    return {"text": turn.text, "files": [str(file) for file in turn.files]}
