"""The embedded world shown to a newcomer: a portrait of each thing, and a message to try for each pair of media."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.media.loading import Medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from data.toybox import BACKGROUNDS, COLOURS, THINGS, Scene, phrase, render

#: The scene that portraits and attached examples are varied from.
_PLAIN = Scene(
    thing="bell", colour="red", size="large", place="centre", background="meadow", count=1,
    motion="left", pitch="medium", pace="medium", repeats=2, jitter=7,
)  # fmt: skip
#: What examples attach, by modality.
GIVEN = {
    "image": _PLAIN.with_(thing="boat", colour="blue", background="beach"),
    "audio": _PLAIN.with_(thing="frog", pace="fast"),
    "video": _PLAIN.with_(thing="car", colour="green", motion="left"),
    "points": _PLAIN.with_(thing="drum"),
}
#: What can be mixed without a file of one's own: scenes as media, by name.
INGREDIENTS = {
    "blue boat": ("image", GIVEN["image"]),
    "red bell": ("image", _PLAIN.with_(background="snow")),
    "yellow car": ("image", _PLAIN.with_(thing="car", colour="yellow")),
    "purple cat": ("image", _PLAIN.with_(thing="cat", colour="purple", background="night")),
    "dog": ("audio", _PLAIN.with_(thing="dog")),
    "frog": ("audio", GIVEN["audio"]),
    "train": ("audio", _PLAIN.with_(thing="train")),
    "green car": ("video", GIVEN["video"]),
    "drum": ("points", GIVEN["points"]),
}


@dataclass(frozen=True)
class Example:
    """A message worth trying, in two languages: with a medium ``given`` or none, to get ``made``, a medium or text."""

    english: str
    chinese: str
    given: str | None
    made: str

    def text(self, language: str) -> str:
        """What is said, "en" or "zh"."""
        return self.chinese if language == "zh" else self.english


EXAMPLES = (
    Example("Hello, what can you do?", "你好，你会什么？", None, "text"),
    Example("Draw a red bell in the snow.", "画一只黄色的鸟。", None, "image"),
    Example("Let me hear a dog.", "让我听听狗的声音。", None, "audio"),
    Example("Make a video of a green car moving left.", "做一段绿色汽车向左移动的视频。", None, "video"),
    Example("What is this?", "这是什么？", "image", "text"),
    Example("Draw this again.", "照着再画一张。", "image", "image"),
    Example("What does this sound like?", "它是什么声音？", "image", "audio"),
    Example("Make a video of this.", "把它变成视频。", "image", "video"),
    Example("What do you hear?", "这是什么声音？", "audio", "text"),
    Example("Draw what you hear.", "画出你听到的。", "audio", "image"),
    Example("Play this again.", "再放一次。", "audio", "audio"),
    Example("Make a video of this.", "做成视频。", "audio", "video"),
    Example("How does it move?", "它怎么动？", "video", "text"),
    Example("Make a picture of this video.", "把视频变成图片。", "video", "image"),
    Example("Play what this sounds like.", "播放它的声音。", "video", "audio"),
    Example("Make this video again.", "照着再拍一段。", "video", "video"),
    Example("What is this?", "这是什么？", "points", "text"),
    Example("Draw these points.", "把这些点画出来。", "points", "image"),
    Example("Let me hear it.", "让我听听它。", "points", "audio"),
    Example("Make a video of it.", "给它做一段视频。", "points", "video"),
)


def write_examples(folder: Path) -> list[tuple[Example, list[Path]]]:
    """Render what :data:`EXAMPLES` attach into ``folder``: each example with its files."""
    files = {}
    for given, scene in GIVEN.items():
        medium = Medium(given, render(scene, given), MODALITIES[given].rate)
        files[given] = save_medium(medium, folder / f"example-{given}{MODALITIES[given].suffix}")
    return [(example, [files[example.given]] if example.given else []) for example in EXAMPLES]


def ingredient(name: str) -> dict:
    """One of :data:`INGREDIENTS` as a content part."""
    modality, scene = INGREDIENTS[name]
    return {"type": modality, "array": render(scene, modality), "rate": MODALITIES[modality].rate}


def ingredient_name(name: str, language: str) -> str:
    """What an ingredient is called in "en" or "zh"."""
    modality, scene = INGREDIENTS[name]
    seen: dict[str, str | int] = {"thing": scene.thing}
    seen |= {"colour": scene.colour} if modality in ("image", "video") else {}
    return phrase(seen, "audio" if modality == "audio" else None, language)


def portraits(size: int = 96) -> dict[str, np.ndarray]:
    """An image (size, size, 3) of each of the things that the embedded world holds."""
    scenes = {
        thing: _PLAIN.with_(
            thing=thing, colour=COLOURS[(3 * number + 1) % 8], background=BACKGROUNDS[number % len(BACKGROUNDS)]
        )
        for number, thing in enumerate(THINGS)
    }
    return {thing: render(scene, "image", size) for thing, scene in scenes.items()}
