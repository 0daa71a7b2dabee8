"""The chat: a message goes in, its reply is watched while it grows, and can be stopped, edited, asked for again.

Handlers are plain functions of a visitor; demo.page.chat_tab puts them behind components.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from demo.engine.model_pool import Shelf
from demo.page.conversations import Conversation, Turn, Visitor
from demo.page.words import say
from nextgpt_lite.commands.chat import ERRORS
from nextgpt_lite.showcase import Example

#: What a handler gives the page: the chat's bubbles, the text box, the list of conversations.
Shown = tuple[Any, Any, Any]
#: The most that one message may say, in characters.
MOST_TEXT = 4000


class Chat:
    """What happens in the chat. Each method that answers is a generator of what the page shows."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def send(self, visitor: Visitor, value: dict[str, Any], settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """A message of the text box: ``{"text", "files"}``."""
        conversation = visitor.current
        text, files = (value.get("text") or "").strip()[:MOST_TEXT], list(value.get("files") or [])
        if conversation.running:
            yield self.refuse(visitor, say(visitor.language, "busy"))
        elif not text and not files:
            yield self.refuse(visitor, say(visitor.language, "nothing_said"))
        else:
            yield from self._begin(visitor, conversation, text, files, settings, model)

    def send_example(
        self, visitor: Visitor, example: Example, files: list[str], settings: dict[str, Any], model: str
    ) -> Iterator[Shown]:
        """One of the messages worth trying."""
        yield from self.send(visitor, {"text": example.text(visitor.language), "files": files}, settings, model)

    def again(self, visitor: Visitor, settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """Answer the last message anew, with the next seed where nothing else has changed."""
        conversation = visitor.current
        if conversation.running or not conversation.turns:
            yield self.refuse(visitor, say(visitor.language, "busy"))
            return
        turn = conversation.turns.pop()
        if settings == turn.settings or settings | {"seed": 0} == turn.settings | {"seed": 0}:
            settings = settings | {"seed": turn.settings["seed"] + 1}
        yield from self._answer(visitor, conversation, turn, settings, model)

    def edit(self, visitor: Visitor, bubble: int, text: str, settings: dict[str, Any], model: str) -> Iterator[Shown]:
        """Say a message otherwise: what came after it goes, its files stay."""
        conversation, number = visitor.current, bubble // 2
        if conversation.running or number >= len(conversation.turns) or not text.strip():
            yield self.refuse(visitor, say(visitor.language, "busy"))
            return
        old = conversation.turns[number]
        del conversation.turns[number:]
        yield from self._begin(visitor, conversation, text.strip()[:MOST_TEXT], old.files, settings, model)

    def undo(self, visitor: Visitor) -> Shown:
        """Take the last message back into the text box; its reply goes."""
        conversation = visitor.current
        if conversation.running or not conversation.turns:
            return self.refuse(visitor, say(visitor.language, "busy"))
        turn = conversation.turns.pop()
        return self.shown(visitor)[0], gr.MultimodalTextbox(value={"text": turn.text, "files": turn.files}), gr.skip()

    def resume(self, visitor: Visitor, model: str) -> Iterator[Shown]:
        """Show the current conversation, and go on showing a reply that is being made."""
        conversation = visitor.current
        yield self.shown(visitor)
        if conversation.running:
            yield from self._watch(visitor, conversation, conversation.turns[-1], model)

    def stop(self, visitor: Visitor) -> None:
        visitor.current.stop()

    def cancel_medium(self, visitor: Visitor, index: int) -> None:
        """Stop making one medium of the reply; the others go on."""
        if running := visitor.current.running:
            running.job.cancel_medium(index)

    def shown(self, visitor: Visitor, model: str | None = None) -> Shown:
        """The page as the visitor's current conversation has it."""
        bubbles = visitor.current.bubbles(visitor.language, self._waiting(visitor, model))
        running = visitor.current.running is not None
        box = gr.MultimodalTextbox(submit_btn=not running, stop_btn=running, interactive=True)
        return bubbles, box, conversation_list(visitor)

    def refuse(self, visitor: Visitor, reason: Exception | str) -> Shown:
        """Say why in a toast and leave the page as it is. Names of files are not read as HTML."""
        gr.Warning(html.escape(str(reason)), title=say(visitor.language, "did_not_work"))
        return gr.skip(), gr.skip(), gr.skip()

    def _begin(self, visitor, conversation: Conversation, text: str, files: list[str], settings, model):
        try:
            turn = conversation.take_in(text, files)
        except ERRORS as error:
            yield self.refuse(visitor, error)
            return
        yield from self._answer(visitor, conversation, turn, settings, model)

    def _answer(self, visitor: Visitor, conversation: Conversation, turn: Turn, settings, model) -> Iterator[Shown]:
        """Show the message at once, whether the model is there or not; then ask, and watch."""
        waiting = self._waiting(visitor, model)
        turn.growing = None
        busy = gr.MultimodalTextbox(value=None, submit_btn=False, stop_btn=True)
        yield (
            [*conversation.bubbles(visitor.language, waiting), *turn.bubbles(visitor.language, waiting)],
            busy,
            gr.skip(),
        )
        try:
            conversation.ask(turn, self.shelf.engine(model), settings)
        except Exception as error:
            yield self._given_back(visitor, conversation, turn)
            if not isinstance(error, (*ERRORS, ValueError)) and type(error).__name__ != "QueueFull":
                raise
            self.refuse(visitor, error)
            return
        yield from self._watch(visitor, conversation, turn, model)

    def _watch(self, visitor: Visitor, conversation: Conversation, turn: Turn, model: str) -> Iterator[Shown]:
        """The reply as it grows, as long as the visitor looks at its conversation."""
        growing = turn.growing
        if growing is None:
            return
        for _ in growing.watch():
            if visitor.current is not conversation:
                return
            yield conversation.bubbles(visitor.language, self._waiting(visitor, model)), gr.skip(), gr.skip()
        if turn not in conversation.turns:
            yield self._given_back(visitor, conversation, turn)
            self.refuse(visitor, growing.last.sentence)  # type: ignore[union-attr]
            return
        if turn.reply and turn.reply.dropped_turns:
            gr.Info(say(visitor.language, "dropped", count=turn.reply.dropped_turns))
        yield self.shown(visitor)

    def _given_back(self, visitor: Visitor, conversation: Conversation, turn: Turn) -> Shown:
        """The conversation as it was, and the message back in the text box."""
        box = gr.MultimodalTextbox(value={"text": turn.text, "files": turn.files}, submit_btn=True, stop_btn=False)
        return conversation.bubbles(visitor.language, ""), box, gr.skip()

    def _waiting(self, visitor: Visitor, model: str | None) -> str:
        """What stands in a bubble before the first word."""
        if self.shelf.ready(model):
            return say(visitor.language, "thinking")
        return f"*{say(visitor.language, 'waking')}*"


def conversation_list(visitor: Visitor) -> Any:
    """The visitor's conversations, the newest first, the current one chosen."""
    choices = [(each.title(visitor.language), each.identity) for each in reversed(visitor.conversations.values())]
    return gr.Radio(choices=choices, value=visitor.current.identity)
