"""What a tokenizer's chat template makes of messages: ids, whatever template a model folder brings.

Templates are programs of others. They are short, have a second for a conversation, and what they raise is a sentence.
One that refuses system messages, or two messages of one role in a row, gets them joined (Gemma's and Mistral's do).
"""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from types import FrameType
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

#: The most characters of a template, of what it writes, and the seconds of computation that it may take.
MAX_TEMPLATE, MAX_WRITTEN, MAX_SECONDS = 100_000, 10_000_000, 1.0
#: The tag by which a chat template says what the assistant generates.
MARKS_REPLIES = re.compile(r"\{%-?\s*generation\b")
Plain = list[dict[str, str]]


class ConversationError(ValueError):
    """Messages that cannot be understood, with a sentence that says why."""


def write_prompt(messages: Plain, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Messages with string content -> ids up to where the assistant begins."""
    return _ids(messages, tokenizer, True)[0]


def write_row(messages: Plain, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Messages with string content -> ids, and 1 for each of those that the assistant says, its end token included."""
    if not MARKS_REPLIES.search(str(tokenizer.chat_template or "")):
        ids, accepted = _ids(messages, tokenizer, False)
        return ids, _assistant_mask(accepted, ids, tokenizer)
    settings = {"return_dict": True, "return_assistant_tokens_mask": True}
    encoded: Any = _accepted(messages, tokenizer, **settings)[0]
    return encoded["input_ids"], encoded["assistant_masks"]


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """ConversationError for a template that is too long, does not end, refuses a message or leaves out its words."""
    size = len(str(tokenizer.chat_template or ""))
    if size > MAX_TEMPLATE:
        raise ConversationError(f"the chat template has {size:,} characters: expected at most {MAX_TEMPLATE:,}")
    if size and "hello" not in _text([{"role": "user", "content": "hello"}], tokenizer, True)[0].lower():
        raise ConversationError("the chat template leaves out the words of a message: expected one that takes strings")


def _ids(messages: Plain, tokenizer: PreTrainedTokenizerBase, reply: bool) -> tuple[list[int], Plain]:
    """Ids, and the messages as the template takes them."""
    text, accepted = _text(messages, tokenizer, reply)
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], accepted


def _text(messages: Plain, tokenizer: PreTrainedTokenizerBase, reply: bool) -> tuple[str, Plain]:
    """What the template writes, and the messages as it takes them."""
    text, accepted = _accepted(messages, tokenizer, tokenize=False, add_generation_prompt=reply)
    if len(text) > MAX_WRITTEN:
        raise ConversationError(f"the chat template writes {len(text):,} characters: expected at most {MAX_WRITTEN:,}")
    return text, accepted


def _accepted(messages: Plain, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> tuple[Any, Plain]:
    """What the template writes of the first form of ``messages`` that it takes, and that form."""
    refusal = None
    for given in _forms(messages):
        try:
            with _seconds(MAX_SECONDS):
                return tokenizer.apply_chat_template(given, **settings), given
        except TemplateError as error:
            refusal = refusal or error
        except Exception as error:  # whatever a program can raise
            raise ConversationError(f"the chat template fails: {_sentence(error)}") from error
    raise ConversationError(f"the chat template refuses this conversation: {_sentence(refusal)}")


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


def _sentence(error: Exception | None) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _assistant_mask(messages: Plain, ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Assistant mask of ``ids`` where the template does not mark generation: from the end of each reply's prompt
    to its end token."""
    mask = [0] * len(ids)
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, whole = _ids(messages[:number], tokenizer, True)[0], _ids(messages[: number + 1], tokenizer, False)[0]
        if ids[: len(prompt)] != prompt or ids[: len(whole)] != whole:
            raise ConversationError("this chat template changes earlier turns: mark the replies by {% generation %}")
        end = next((i for i in range(len(prompt), len(whole)) if ids[i] == tokenizer.eos_token_id), len(whole) - 1)
        mask[len(prompt) : end + 1] = [1] * (end + 1 - len(prompt))
    return mask
