"""What the expert on the encoder's reading would say of media whose ground truth is known (encoders.description)."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from data.things.captions import BACKGROUNDS
from data.things.captions import caption as image_caption
from data.things.catalogue import catalogue
from data.things.dialogues import MediaPart, Photograph, Spoken
from data.things.dialogues.wording import Wording
from data.things.motion import VideoScene
from data.things.motion import caption as video_caption
from data.things.points.kinds import model_kinds
from data.things.points.scenes import PointScene
from data.things.points.scenes import caption as points_caption
from data.things.rendering import boxes
from data.things.scenes import Scene
from data.things.sounds.kinds import kinds
from data.things.sounds.scenes import SoundScene
from data.things.sounds.scenes import caption as sound_caption
from data.things.words import usual_name
from decoders.phrases import NUMBER, split_caption
from encoders.description import NOTHING, Found, describe_classes, describe_phrases, describe_things
from nextgpt_lite.experts import ReadingExpert, SpeechExpert, introduced

#: What shows something of the world -> its caption.
CAPTIONS: dict[type, Callable[[Any], str]] = {
    Scene: image_caption,
    VideoScene: video_caption,
    SoundScene: sound_caption,
    PointScene: points_caption,
}


def described(part: dict[str, Any]) -> list[str]:
    """The words of the experts on a part of a message that carries its MediaPart as ``part``; [] for others."""
    medium = part.get("part")
    if not isinstance(medium, MediaPart):
        return []
    words = [introduced(ReadingExpert.name, reading(medium, part["language"]), part)]
    if isinstance(medium.content, Spoken):
        words.append(introduced(SpeechExpert.name, medium.content.text, part))
    return words


def reading(medium: MediaPart, language: str = "en") -> str:
    """What an encoder that makes no mistake reads."""
    content = medium.content
    if isinstance(content, Scene):
        return _image(content, language)
    if isinstance(content, Photograph):
        return describe_classes(content.classes, language)
    if type(content) not in CAPTIONS:
        return NOTHING[language]
    phrases = split_caption(CAPTIONS[type(content)](content))
    if language == "zh":
        names = range(0, NUMBER, 2)
        phrases = [_chinese().get(each, each) if slot in names else each for slot, each in enumerate(phrases)]
    return describe_phrases(phrases, language)


def _image(scene: Scene, language: str) -> str:
    words = Wording(language, np.random.default_rng(0))

    def colour(name: str | None) -> str:
        return "" if name is None else words.first(f"colour.{name}") if language == "zh" else name

    found = [
        Found(usual_name(catalogue()[placed.thing], language), colour(placed.colour), box)
        for placed, box in zip(scene.placed, boxes(scene), strict=True)
    ]
    found.sort(key=lambda each: each.box[0] + each.box[2])
    place = scene.background
    background = words.first(f"background.{place}") if language == "zh" and place else BACKGROUNDS.get(place, "")
    return describe_things(found, background, language)


@cache
def _chinese() -> dict[str, str]:
    """English names of things, sounds and models -> Chinese ones."""
    entries = [*catalogue().values(), *kinds().values(), *model_kinds().values()]
    return {usual_name(each, "en"): usual_name(each, "zh") for each in entries}
