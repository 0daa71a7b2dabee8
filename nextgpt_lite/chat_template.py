"""What chat templates make of messages: prompts of a chat, and rows to train on with what the assistant says in them.

A row is the prompt that a chat feeds before its last reply, token for token, then that reply. Labelled are the words of
every reply and the token that ends it, with the white space that the template has before either, and nothing else:
marks of the template (``{% generation %}``) are not needed and not read. Where it writes earlier turns otherwise than
the last one, as Qwen3's does, earlier replies are labelled as they stand there.

Where words begin and end is seen by having the template write the conversation once more, with marks in their place.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from nextgpt_lite.template_rendering import ConversationError, Plain, RefusedError, render, template_of

#: The most characters of a template.
MAX_TEMPLATE = 100_000
#: A tag that stands open at the end of a prompt, such as <think>.
OPEN_TAG = re.compile(r"([<\[])([^<>\[\]/|\s]+)([>\]])\s*$")
#: A conversation that shows how a template writes.
HELLO = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "Yes, this IS one.\n\n- so  it is"}
AGAIN = {"role": "user", "content": "again"}


class ReplyForm(NamedTuple):
    """How a template writes replies: what is added to its prompts so that the words of a reply follow (the rest of a
    header, the end of an open <think>), white space that replies begin with, and the tokens that end them."""

    opening: str = ""
    lead: str = ""
    end: str = ""
    ends: frozenset[str] = frozenset()

    def stop(self, text: str, start: int) -> int:
        """Where the end token after the words that end at ``start`` ends; ``start`` where there is none."""
        end = re.match(rf"\s*{_any_of(self.ends)}", text[start:]) if self.ends else None
        return start + end.end() if end else start


def write_prompt(messages: Plain, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Messages with string content -> ids up to where the words of the assistant begin."""
    text, given = render(messages, tokenizer, True)
    form, cuts = reply_form(tokenizer), []
    with suppress(ConversationError):  # a template that changes words of replies can be chatted with
        cuts = _cuts(_around(given, text, tokenizer, True), given, text, form)
    return _tokens(text + form.opening, cuts, tokenizer)[0]


def write_row(messages: Plain, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Messages with string content -> ids, and 1 for each of those that the assistant says, its end token included.

    ConversationError where the template does not write the words of a reply as they are.
    """
    form = reply_form(tokenizer)
    text, given = render(messages, tokenizer, False)
    around = _around(given, text, tokenizer, False)
    if given[-1]["role"] != "assistant" or len(given) == 1:
        return _masked(*_tokens(text, _cuts(around, given, text, form), tokenizer))
    prompt, before = render(given[:-1], tokenizer, True)
    cuts = _cuts(_around(before, prompt, tokenizer, True), before, prompt, form)
    prompt += form.opening
    tail = around[-1] if form.stop(around[-1], 0) else form.end
    reply = form.lead + given[-1]["content"]
    end = len(reply) + form.stop(tail, 0)
    ids, places = _tokens(prompt + reply + tail, [*cuts, len(prompt), len(prompt) + end], tokenizer)
    read, read_places = _tokens(prompt, cuts, tokenizer)
    if ids[: len(read)] != read:  # the end of the prompt would be other tokens before these words
        said, [count] = _tokens(reply + tail, [end], tokenizer)
        ids, places = read + said, [*read_places, len(read), len(read) + count]
    return _masked(ids, places)


def reply_form(tokenizer: PreTrainedTokenizerBase) -> ReplyForm:
    """How the tokenizer's template writes replies; an empty form where it refuses a question with its answer."""
    try:
        return _reply_form(tokenizer, template_of(tokenizer), len(tokenizer))
    except ConversationError:
        return ReplyForm()


def end_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of the tokens by which the template ends replies."""
    ids: Any = tokenizer.convert_tokens_to_ids(sorted(reply_form(tokenizer).ends))
    return set(ids)


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """ConversationError for a template that is too long, does not end, refuses a message or leaves out its words."""
    size = len(str(tokenizer.chat_template or ""))
    if size > MAX_TEMPLATE:
        raise ConversationError(f"the chat template has {size:,} characters: expected at most {MAX_TEMPLATE:,}")
    if "hello" not in render([{"role": "user", "content": "hello"}], tokenizer, True)[0].lower():
        raise ConversationError("the chat template leaves out the words of a message: expected one that takes strings")


def check_replies(tokenizer: PreTrainedTokenizerBase) -> None:
    """ConversationError, with the tokenizer's folder and the reason, where replies cannot be learned."""
    try:
        write_row([HELLO, ANSWER], tokenizer)
        if not reply_form(tokenizer).ends:
            raise ConversationError("the chat template has no token after a reply: a model would not learn to stop")
        with suppress(RefusedError):  # one turn may be all that it takes
            write_row([HELLO, ANSWER, AGAIN, ANSWER], tokenizer)
    except ConversationError as error:
        raise ConversationError(f"{tokenizer.name_or_path or 'tokenizer'}: {error}") from error


@lru_cache(maxsize=8)
def _reply_form(tokenizer: PreTrainedTokenizerBase, template: str, vocabulary: int) -> ReplyForm:
    """``template`` and ``vocabulary`` tell apart what a tokenizer was before from what it is now."""
    before, words, tail = render([HELLO, ANSWER], tokenizer, False)[0].partition(ANSWER["content"])
    if not words:
        return ReplyForm()
    last, earlier = _first_token(tail, tokenizer), _end_of_earlier_reply(tokenizer)
    opening, lead = _opening(render([HELLO], tokenizer, True)[0], before)
    return ReplyForm(opening, lead, last or earlier, frozenset(filter(None, (last, earlier))))


def _opening(prompt: str, before: str) -> tuple[str, str]:
    """What a prompt lacks of what stands before the words of a reply; white space at its end belongs to the reply."""
    if before.startswith(prompt):
        lacking = before[len(prompt) :]
        opening = lacking.rstrip(" ") if lacking.strip() else ""
        return opening, lacking[len(opening) :]
    tag = OPEN_TAG.search(prompt, len(before)) if prompt.startswith(before) else None
    return f"\n{tag[1]}/{tag[2]}{tag[3]}\n\n" if tag else "", ""


def _end_of_earlier_reply(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends a reply which a message follows; empty where that is how the message begins."""
    try:
        text, _ = render([HELLO, ANSWER, AGAIN], tokenizer, True)
    except ConversationError:
        return ""
    before, _, after = text.partition(ANSWER["content"])
    token, asked = _first_token(after, tokenizer), before.lower().rfind(HELLO["content"])
    between = after[: max(after.lower().find(AGAIN["content"]), 0)]
    if not token or not before[:asked].endswith(between):
        return token
    # A system message that the template adds may end so as well: the token that ends a question, before another one.
    ends_questions = _first_token(before[asked + len(HELLO["content"]) :], tokenizer) == token
    return token if ends_questions and _first_token(between.partition(token)[2], tokenizer) else ""


def _first_token(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The added token that a text begins with, but for white space; empty where it begins with none."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()} | {str(tokenizer.eos_token or "")}
    found = re.match(rf"\s*({_any_of(added)})", text)
    return found[1] if found else ""


def _any_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, sorted(filter(str.strip, words), key=len, reverse=True)))})"


def _said(messages: Plain) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "assistant"]


def _around(messages: Plain, text: str, tokenizer: PreTrainedTokenizerBase, reply: bool) -> list[str]:
    """What the template writes around replies in ``text``: before each of them, and after the last."""
    said, word = _said(messages), "reply"
    while word in text:
        word += "y"
    marks = [f"{word}{number}." for number in range(len(said))]
    left = iter(marks)
    marked = [{**each, "content": next(left)} if each["role"] == "assistant" else each for each in messages]
    around, rest = [], render(marked, tokenizer, reply)[0] if said else text
    for mark in marks:
        before, _, rest = rest.partition(mark)
        around.append(before)
    if "".join(part for pair in zip(around, said, strict=True) for part in pair) + rest != text:
        raise ConversationError("the chat template changes or leaves out words of the assistant")
    return [*around, rest]


def _cuts(around: list[str], messages: Plain, text: str, form: ReplyForm) -> list[int]:
    """Where each reply begins and ends in ``text``, lead and end token included."""
    cuts, place = [], 0
    for before, words in zip(around, _said(messages), strict=False):
        place += len(before)
        cuts.append(place - len(form.lead) if text.endswith(form.lead, 0, place) else place)
        place += len(words)
        cuts.append(form.stop(text, place))
    return cuts


def _tokens(text: str, cuts: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Ids of a text, and how many of them stand before each of the ``cuts``. No token lies across one: a prompt that
    ends there would be read as other tokens."""
    if not cuts:
        return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], []
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ends = [end for _, end in encoded["offset_mapping"]]
    crossed = sorted({cut for cut in cuts if 0 < cut < len(text)} - set(ends))
    if not crossed:
        return encoded["input_ids"], [bisect_right(ends, cut) for cut in cuts]
    ids, places = [], []
    for begin, end in pairwise([0, *crossed, len(text)]):
        inside = [cut - begin for cut in cuts if begin <= cut < end or cut == end == len(text)]
        own, own_places = _tokens(text[begin:end], inside, tokenizer)
        places += [len(ids) + place for place in own_places]
        ids += own
    return ids, places


def _masked(ids: list[int], places: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids, and 1 for those between each two places."""
    mask = [0] * len(ids)
    for start, stop in zip(places[::2], places[1::2], strict=True):
        mask[start:stop] = [1] * (stop - start)
    return ids, mask
