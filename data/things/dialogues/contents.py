"""What media of each modality may hold: how it is drawn anew, said by users and by the assistant, and captioned."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.things.captions import caption
from data.things.dialogues import composing, moving, phrases, sounding
from data.things.dialogues.parts import MediaPart
from data.things.dialogues.speaker import Speaker
from data.things.motion import caption as video_caption
from data.things.sounds.scenes import caption as sound_caption


@dataclass(frozen=True)
class Contents:
    """One modality. ``new`` draws contents, ``phrase`` is what a user says who wants them, ``said`` the assistant."""

    new: Callable[[Speaker], Any]
    phrase: Callable[[Speaker, Any], str]
    said: Callable[[Speaker, Any], str]
    caption: Callable[[Any], str]


CONTENTS = {
    "image": Contents(composing.scene, phrases.phrase, phrases.said, caption),
    "video": Contents(moving.new, moving.phrase, moving.said, video_caption),
    "audio": Contents(sounding.new, sounding.phrase, sounding.said, sound_caption),
}
#: The pairs of media that one reply can bring, and how often.
PAIRS = {("image", "image"): 0.4, ("image", "audio"): 0.25, ("image", "video"): 0.15, ("video", "audio"): 0.2}
#: How often each modality is asked for.
SHARES = {"image": 0.44, "audio": 0.28, "video": 0.28}


def some_modality(speaker: Speaker) -> str:
    """A modality that can be made."""
    return list(SHARES)[int(speaker.rng.choice(len(SHARES), p=list(SHARES.values())))]


def some_pair(speaker: Speaker) -> tuple[str, str]:
    """Two modalities that can be made."""
    return list(PAIRS)[int(speaker.rng.choice(len(PAIRS), p=list(PAIRS.values())))]


def made(modality: str, content: Any) -> MediaPart:
    """A medium that the assistant makes, with the caption that its decoder follows."""
    return MediaPart(modality, content, CONTENTS[modality].caption(content))


def answer(speaker: Speaker, modality: str, content: Any, bank: str = "") -> None:
    """The reply that makes a medium: what it is, in words, and the medium."""
    words = CONTENTS[modality].said(speaker, content)
    speaker.reply(bank or f"reply.{modality}", made(modality, content), x=words, **agreeing(content))


def agreeing(content: Any) -> dict[str, str]:
    """English words that agree with how many things there are: "this is" and "these are"."""
    if getattr(content, "layout", "") == "several":
        return {"is": "are", "this": "these", "that": "those"}
    return {"is": "is", "this": "this", "that": "that"}
