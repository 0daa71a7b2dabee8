"""What a dialogue is made of, and the :class:`Speaker` that words its turns from ``en.yaml`` and ``zh.yaml``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from data.toybox.language.grammar import article, noun, phrase, tag_caption, word, words
from data.toybox.world import CARRIES, HELD_OUT_PAIRS, PLACES, SIZES, THINGS, Scene, load_table, random_scene

T = TypeVar("T")


@dataclass(frozen=True)
class MediaPart:
    """A medium in a turn: of a Toybox ``scene``, or ``out_of_distribution`` = (seed, index) of one that shows no scene.

    ``caption`` is the tag caption of a medium that the assistant makes: what the turn's words say, nothing else.
    """

    modality: str
    scene: Scene | None
    out_of_distribution: tuple[int, int] | None = None
    caption: str = ""


@dataclass(frozen=True)
class Turn:
    """What one side says: words and media in order. ``role`` is "user" or "assistant"."""

    role: str
    parts: tuple[str | MediaPart, ...]


@dataclass(frozen=True)
class Dialogue:
    """Turns, user first, assistant last. ``expected`` is what the last reply must hold:

    "modalities" (media asked for, in order), "attributes" (which words or media must show), "unknown" (must decline)
    and, where several media are asked for, "attributes_by_modality".
    """

    turns: tuple[Turn, ...]
    kind: str
    language: str
    expected: dict


@dataclass
class Speaker:
    """Words turns in one language with one random stream. ``source`` and ``target`` restrict the modalities."""

    rng: np.random.Generator
    language: str
    pairs: str = "train"
    source: str | None = None
    target: str | None = None
    turns: list[Turn] = field(default_factory=list)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, wanted: str | None, options: Sequence[str]) -> str:
        """``wanted`` where it is one of the options; a random option where nothing is wanted."""
        if wanted is None:
            return self.pick(options)
        if wanted not in options:
            raise ValueError(f"modality {wanted!r} does not fit here: expected one of {', '.join(options)}")
        return wanted

    # Scenes

    def scene(self) -> Scene:
        return random_scene(self.rng, self.pairs)

    def fill(self, stated: dict) -> Scene:
        """A full scene that agrees with ``stated`` and is random in the rest."""
        while True:
            base = random_scene(self.rng, "all")
            loose = {"size": self.pick(SIZES), "place": self.pick(PLACES)} if stated.get("count") == 1 else {}
            scene = base.with_(**(loose | stated))
            if self.allowed(scene.thing, scene.colour) or {"thing", "colour"} <= set(stated):
                return scene

    def allowed(self, thing: str, colour: str) -> bool:
        return self.pairs == "all" or ((thing, colour) in HELD_OUT_PAIRS) == (self.pairs == "held_out")

    def thing_for(self, colour: str, other_than: str = "") -> str:
        """A thing that may have ``colour``."""
        return self.pick([thing for thing in THINGS if thing != other_than and self.allowed(thing, colour)])

    def for_context(self) -> Self:
        """A speaker for what comes before a question about held-out pairs: it keeps to pairs of the training."""
        return type(self)(self.rng, self.language, "train" if self.pairs == "held_out" else self.pairs)

    # Words

    def table(self, path: str) -> Any:
        """What the language's file holds under ``path``, such as "assistant.decline"."""
        found: Any = load_table(Path(__file__).with_name(f"{self.language}.yaml"))
        for key in path.split("."):
            found = found[key]
        return found

    def phrase(self, attributes: dict, modality: str | None = None) -> str:
        """A user's noun phrase."""
        return phrase(attributes, modality, self.language, self.rng if self.chance(0.6) else None)

    def word(self, name: str, value: str | int) -> str:
        return word(name, value, self.language, self.rng if self.chance(0.6) else None)

    def plain(self, attributes: dict, modality: str | None = None) -> str:
        """An assistant's noun phrase."""
        return phrase(attributes, modality, self.language)

    def plain_word(self, name: str, value: str | int) -> str:
        """An assistant's words for one attribute that stands alone."""
        return word(name, value, self.language).removesuffix("的")

    def value(self, name: str, value: str, modality: str | None = None) -> str:
        """A thing or a colour as it follows "is": "a bell", "red", 红色的."""
        if name == "thing":
            return self.a(value, modality)
        return self.plain_word(name, value) + self.table("predicate_ending")

    def noun(self, thing: str, modality: str | None = None, count: int = 1) -> str:
        return noun(thing, modality, self.language, count)

    def measure_word(self, thing: str) -> str:
        """The word between a number and ``thing``; English has none."""
        return words(self.language)["measure_words"].get(thing, "")

    def a(self, thing: str, modality: str | None = None, count: int = 1) -> str:
        """The thing with its article ("a bell", "bells", "rain"); in Chinese the bare noun."""
        name = self.noun(thing, modality, count)
        bare = self.language == "zh" or count > 1 or (thing == "rain" and modality == "audio")
        return name if bare else f"{article(name)} {name}"

    # Turns

    def user(self, path: str, *media: MediaPart, **slots: Any) -> None:
        """Adds a user turn: one of the paraphrases under ``user.<path>`` in the language's file."""
        forms = self.table(f"user.{path}")
        self.user_says(forms.get("commands", ()), forms.get("sentences", ()), *media, **slots)

    def user_says(self, commands: Sequence[str], sentences: Sequence[str], *media: MediaPart, **slots: Any) -> None:
        """Adds a user turn: one of ``commands``, which may be said politely, or of other ``sentences``."""
        number = int(self.rng.integers(len(commands) + len(sentences)))
        text = (*commands, *sentences)[number].format(**slots)
        if number < len(commands) and not text.startswith(("now", "现在")) and self.chance(0.25):
            text = self._politely(text)
        text = self._styled(text)
        self.turns.append(Turn("user", (text, *media) if media and self.chance(0.2) else (*media, text)))

    def say(self, path: str, **slots: Any) -> str:
        """The assistant's sentence under ``assistant.<path>`` in the language's file."""
        return self.table(f"assistant.{path}").format(**slots)

    def reply(self, *parts: str | MediaPart) -> None:
        self.turns.append(Turn("assistant", parts))

    def make(self, modality: str, stated: dict, scene: Scene | None = None) -> tuple[str, MediaPart]:
        """The assistant's sentence and the medium it announces, which agree word for tag."""
        stated = {name: stated[name] for name in CARRIES[modality] if name in stated}
        medium = MediaPart(modality, scene or self.fill(stated), caption=tag_caption(stated))
        several = modality == "image" and stated.get("count", 1) > 1
        return self.say("images" if several else modality, x=self.plain(stated, modality)), medium

    def done(self, kind: str, attributes: dict | None = None, modalities: Sequence[str] = (), **more: Any) -> Dialogue:
        expected = {"modalities": list(modalities), "attributes": attributes or {}, "unknown": False} | more
        return Dialogue(tuple(self.turns), kind, self.language, expected)

    def _politely(self, text: str) -> str:
        if self.language == "zh":
            options = ("请{}", "能不能{}？") if text.startswith("让") else ("请{}", "帮我{}", "麻烦你{}", "能不能{}？")
            return self.pick(options).format(text)
        return self.pick(("please {}", "{}, please", "{} please", "could you {}?", "can you {}?")).format(text)

    def _styled(self, text: str) -> str:
        """With or without capitals and a full stop."""
        style = self.rng.random()
        if self.language == "zh":
            finished = text if text[-1] in "？！。" else text + "。"
            return finished if style < 0.55 else finished.rstrip("？！。")
        if style < 0.55:
            text = re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
        else:
            text = text.lower()
        if style < 0.4 or style > 0.85:
            return text if text[-1] in "?!." else text + "."
        return text.rstrip(".!") if style < 0.65 else text.rstrip(".!?")


def lower_first(text: str) -> str:
    return text[0].lower() + text[1:]


def upper_first(text: str) -> str:
    return text[0].upper() + text[1:]
