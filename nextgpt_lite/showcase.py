"""The embedded world shown to a newcomer: a portrait of each thing, and messages worth trying with their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.media_intake import SUFFIXES, Medium, save_medium
from data.toybox import COLOURS, THINGS, Scene, render, render_image
from nextgpt_lite.toybox_command import RATES

#: The scene that portraits and attached examples are varied from.
_PLAIN = Scene(
    thing="bell", colour="red", size="large", place="centre", background="meadow", count=1,
    motion="left", pitch="medium", pace="medium", repeats=2, jitter=7,
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A message worth trying; ``scene`` is rendered as ``modality`` and attached."""

    text: str
    modality: str | None = None
    scene: Scene | None = None


EXAMPLES = (
    Example("What is this?", "image", _PLAIN.with_(thing="boat", colour="blue", background="beach")),
    Example("Draw this.", "audio", _PLAIN.with_(thing="frog", pace="fast")),
    Example("Draw a red bell in the snow and let me hear it."),
    Example("Make a video of a green car moving left."),
    Example("画一只黄色的鸟。"),
    Example("这是什么？", "audio", _PLAIN.with_(thing="train")),
)


def write_examples(folder: Path) -> list[tuple[Example, list[Path]]]:
    """Render the files of :data:`EXAMPLES` into ``folder``: each example with its files."""
    written = []
    for number, example in enumerate(EXAMPLES, 1):
        files = []
        if example.modality and example.scene:
            medium = Medium(example.modality, render(example.scene, example.modality), RATES[example.modality])
            files = [save_medium(medium, folder / f"example-{number}{SUFFIXES[example.modality]}")]
        written.append((example, files))
    return written


def portraits(size: int = 96) -> dict[str, np.ndarray]:
    """A picture (size, size, 3) of each of the things that the embedded world holds."""
    scenes = {
        thing: _PLAIN.with_(thing=thing, colour=COLOURS[(3 * number + 1) % 8], background=_BACKDROPS[number % 4])
        for number, thing in enumerate(THINGS)
    }
    return {thing: render_image(scene, size) for thing, scene in scenes.items()}


_BACKDROPS = ("snow", "meadow", "beach", "night")
