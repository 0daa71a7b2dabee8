"""What a row has read: keys and values in a buffer that grows by doubling. Kept, they spare the next turn the reading.

Shapes: S positions, T tokens.
"""

import hashlib
import threading
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from nextgpt_lite.media_slots import MediaSlots

#: Positions that a new buffer has beyond the prompt, for the reply.
AHEAD = 256
#: The most bytes of keys and values that are kept between the turns of conversations.
PREFIX_BYTES = 2**29
#: Fewer common tokens are not worth looking after.
LEAST_COMMON = 16
Scope = tuple[Hashable, ...]


class Context:
    """Keys and values of ``length`` positions, by layer.

    ``items`` (S,) say what was read: ids, and at placeholders what they stand for. ``scope`` is what all of it depends
    on: the weights first.
    """

    def __init__(self, shape: tuple[int, int, int], prompt_length: int, scope: Scope, like: torch.Tensor) -> None:
        layers, heads, width = shape
        self.buffer = like.new_empty(layers, 2, heads, prompt_length + AHEAD, width)
        self.scope, self.length, self.prompt_length = scope, 0, prompt_length
        self.items: list[Hashable] = []
        self.see(None)

    def see(self, prompts: Any) -> None:
        """Every further token sees these prompts; ``compiled_prompts`` are what a kernel makes of them."""
        self.prompts = prompts
        self.compiled_prompts: Any = None

    def make_room(self, count: int) -> None:
        """Let ``count`` further positions fit."""
        capacity = self.buffer.shape[3]
        if self.length + count > capacity:
            self._move_to(max(2 * capacity, self.length + count))

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put keys and values (KV heads, T, d) of a layer behind the others; all of them, (KV heads, S, d)."""
        end = self.length + keys.shape[1]
        self.buffer[layer, 0, :, self.length : end] = keys
        self.buffer[layer, 1, :, self.length : end] = values
        return self.buffer[layer, 0, :, :end], self.buffer[layer, 1, :, :end]

    def forget(self, length: int) -> None:
        """Leave out what was read behind the first ``length`` positions."""
        self.length, self.items = length, self.items[:length]

    def copy(self, length: int) -> "Context":
        """The first ``length`` positions in a buffer of their own."""
        new = object.__new__(Context)
        new.buffer, new.length, new.items = self.buffer, length, self.items[:length]
        new.scope, new.prompt_length = self.scope, length
        new.see(None)
        new._move_to(length + AHEAD)
        return new

    def _move_to(self, capacity: int) -> None:
        layers, two, heads, _, width = self.buffer.shape
        moved = self.buffer.new_empty(layers, two, heads, capacity, width)
        moved[:, :, :, : self.length] = self.buffer[:, :, :, : self.length]
        self.buffer = moved


class PrefixCache:
    """Contexts of replies that are finished, so that a conversation that goes on is not read again from its start.

    Bounded in bytes, the one that was used longest ago goes first. Several threads may use it: a context is in one
    place at a time. What was read under other weights is not found (``scope`` says which).
    """

    def __init__(self, limit: int = PREFIX_BYTES) -> None:
        self.limit = limit
        self._contexts: list[Context] = []
        self._lock = threading.Lock()

    def take(self, items: list[Hashable], scope: Scope, running: Sequence[Context] = ()) -> Context | None:
        """A context that has read how ``items`` begin and nothing else, never all of them; None where there is none.

        Only a copy is taken of one that would lose some of its own prompt, and of the ``running`` ones.
        """
        with self._lock:
            found = [
                (common_length(each.items, items), each) for each in (*running, *self._contexts) if each.scope == scope
            ]
            length, context = max(found, key=lambda each: each[0], default=(0, None))
            length = min(length, len(items) - 1)
            if context is None or length < LEAST_COMMON:
                return None
            if length < context.prompt_length - 1 or not any(context is each for each in self._contexts):
                context = context.copy(length)
            else:
                self._contexts = [each for each in self._contexts if each is not context]
        context.forget(length)
        context.prompt_length = len(items)
        return context

    def put(self, context: Context) -> None:
        """Keep what a row has read, in the place of what it began with; what other weights have read goes."""
        with self._lock:
            others = [each for each in self._contexts if each.scope[0] is context.scope[0]]
            others = [each for each in others if each.scope != context.scope or not _begins(context, each)]
            self._contexts = [*others, context]
            while sum(each.buffer.nbytes for each in self._contexts) > self.limit:
                del self._contexts[0]


def common_length(left: list[Hashable], right: list[Hashable]) -> int:
    """How many items two lists have in common at their beginning."""
    most = min(len(left), len(right))
    if left[:most] == right[:most]:
        return most
    return next(place for place in range(most) if left[place] != right[place])


def read_items(ids: list[int], slots: MediaSlots | None, media: Sequence[torch.Tensor]) -> list[Hashable]:
    """Ids (S,), and for each placeholder the medium that it reads, by its content, and which of its tokens."""
    items: list[Hashable] = list(ids)
    if slots is not None:
        contents = [content_of(medium) for medium in media]
        tokens = slots.token[0].tolist()
        for place in slots.is_placeholder[0].nonzero()[:, 0].tolist():
            medium, token = divmod(tokens[place], slots.tokens_each)
            items[place] = (ids[place], contents[medium], token)
    return items


def content_of(medium: torch.Tensor) -> bytes:
    """A hash of a medium's numbers and shape."""
    data = medium.detach().contiguous().cpu()
    return hashlib.sha256(repr(data.shape).encode() + data.view(torch.uint8).numpy().tobytes()).digest()


def _begins(context: Context, other: Context) -> bool:
    """Whether all that ``other`` has read stands at the beginning of ``context``."""
    return len(other.items) <= len(context.items) and context.items[: len(other.items)] == other.items
