"""What a dialogue is made of."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Photograph:
    """A photograph of which only is known what an ImageNet classifier sees in it.

    ``classes`` are (name, probability), the surest first; the rest of the probability is spread over the others.
    ``number`` seeds what features are drawn for it.
    """

    classes: tuple[tuple[str, float], ...]
    number: int


class Unknown(NamedTuple):
    """A medium that shows nothing of the world: number ``index`` of the stream ``seed`` of such media."""

    seed: int
    index: int


class Spoken(NamedTuple):
    """A recording of which only is known what is said in it. ``number`` seeds what features are drawn for it."""

    text: str
    number: int


@dataclass(frozen=True)
class MediaPart:
    """A medium in a turn.

    ``content`` is its ground truth: a scene, a film, a sound or a model of the world, or a photograph, a recording or
    something unknown.
    ``caption`` is what the decoder follows, of a medium that the assistant makes: what was asked for, nothing else.
    """

    modality: str
    content: Any
    caption: str = ""


@dataclass(frozen=True)
class Turn:
    """What one side says: words and media in order. ``role`` is "user" or "assistant"."""

    role: str
    parts: tuple[str | MediaPart, ...]

    @property
    def text(self) -> str:
        """Its words alone."""
        return " ".join(part for part in self.parts if isinstance(part, str))

    @property
    def media(self) -> list[MediaPart]:
        return [part for part in self.parts if isinstance(part, MediaPart)]


@dataclass(frozen=True)
class Dialogue:
    """Turns, user first, assistant last.

    ``expected`` says of the last reply: "topic" (what was asked), "media" ((modality, caption) that it brings, in
    order) and "answer" (words that it must hold).
    """

    turns: tuple[Turn, ...]
    kind: str
    language: str
    expected: dict[str, Any] = field(default_factory=dict)
