"""What a tokenizer's chat template, a short program of somebody else's, writes of messages.

It is run as it stands, with what makes it the same every time and everywhere: no thinking (``enable_thinking`` and
``thinking`` are false), and :data:`TODAY` for whoever asks for the date. It has a second for a conversation, and what
it raises is a sentence. One that refuses system messages, or two messages of one role in a row, gets them joined
(Gemma's and Mistral's do). Ids and labels are made of it in :mod:`nextgpt_lite.chat_template`.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from data.strict import sentence

#: The most characters that a template writes, and the seconds of computation that it may take.
MAX_WRITTEN, MAX_SECONDS = 10_000_000, 1.0
#: Variables by which templates ask whether a reply begins with thoughts.
NO_THINKING: dict[str, Any] = {"enable_thinking": False, "thinking": False}
#: The date in templates that ask for today's, by the codes of strftime: training and all chats read the same one.
TODAY = {"Y": "2024", "y": "24", "m": "07", "d": "26", "B": "July", "b": "Jul", "A": "Friday", "a": "Fri", "j": "208"}
TODAY |= {"H": "12", "I": "12", "M": "00", "S": "00", "p": "PM"}
Plain = list[dict[str, str]]


def read_template(name: str) -> str:
    """A chat template of the folder ``chat_templates`` without the line breaks of its file."""
    path = Path(__file__).parent / "chat_templates" / f"{name}.jinja"
    return "".join(path.read_text(encoding="utf-8").splitlines())


#: Template of the embedded model. ``generation`` marks what the loss sees; user messages are read in lower case: else
#: CAPITALS would be new words to a small model.
CHAT_TEMPLATE = read_template("nano")
#: Turns set apart by ``###``, as in LLaMA-Adapter V2's chat model: for a base model that has no template of its own.
SEPARATOR_TEMPLATE = read_template("separator")
_FORMATTED = "".join(f".replace('%{code}', '{value}')" for code, value in TODAY.items())
#: Takes the place of the function of transformers that reads the clock.
_CALENDAR = "{% macro strftime_now(format) %}{{ format" + _FORMATTED + " }}{% endmacro %}\n"


class ConversationError(ValueError):
    """Messages that cannot be understood, with a sentence that says why."""


class RefusedError(ConversationError):
    """A conversation that the template itself refuses."""


def template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template of a tokenizer; :data:`SEPARATOR_TEMPLATE` where it has none."""
    if not tokenizer.chat_template:
        return SEPARATOR_TEMPLATE
    template = tokenizer.get_chat_template()
    return _CALENDAR + template if "strftime_now" in template else template


def render(messages: Plain, tokenizer: PreTrainedTokenizerBase, reply: bool) -> tuple[str, Plain]:
    """What the template writes of messages with string content, and these in the form that it takes.

    ``reply`` adds what it writes before a reply. ConversationError where it cannot.
    """
    refusal = None
    for given in _forms(messages):
        try:
            with _seconds(MAX_SECONDS):
                text = str(
                    tokenizer.apply_chat_template(
                        given,
                        chat_template=template_of(tokenizer),
                        tokenize=False,
                        add_generation_prompt=reply,
                        **NO_THINKING,
                    )
                )
        except TemplateError as error:
            refusal = refusal or error
            continue
        except Exception as error:  # whatever a program can raise
            raise ConversationError(f"the chat template fails: {sentence(error)}") from error
        if len(text) > MAX_WRITTEN:
            limit = f"expected at most {MAX_WRITTEN:,}"
            raise ConversationError(f"the chat template writes {len(text):,} characters: {limit}")
        return text, given
    raise RefusedError(f"the chat template refuses this conversation: {' '.join(str(refusal).split())[:300]}")


def _forms(messages: Plain) -> Iterator[Plain]:
    """The messages as they are; with neighbours of one role as one; with the system's as the user's too."""
    yield messages
    joined = _join(messages)
    if joined != messages:
        yield joined
    if any(message["role"] == "system" for message in messages):
        yield _join([{**each, "role": "user"} if each["role"] == "system" else each for each in messages])


def _join(messages: Plain) -> Plain:
    groups = [(role, list(group)) for role, group in groupby(messages, key=lambda message: message["role"])]
    return [{"role": role, "content": "\n".join(each["content"] for each in group)} for role, group in groups]


@contextmanager
def _seconds(limit: float) -> Iterator[None]:
    """TimeoutError in a template that computes for longer: it is looked at before each of its lines."""
    end = time.thread_time() + limit  # of this thread alone: a busy machine refuses no template

    def look(frame: FrameType, event: str, argument: object):
        if frame.f_code.co_filename != "<template>":
            return None
        if time.thread_time() > end:
            raise TimeoutError(f"it takes longer than {limit:g} s")
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
