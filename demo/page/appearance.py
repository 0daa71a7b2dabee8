"""The page's appearance, and the examples that it shows. No font, script or image comes from another host."""

from functools import cache

import numpy as np
import yaml
from gradio.themes import Base, Soft
from PIL import Image

from data.modalities import MODALITIES
from demo.data_urls import image_url
from demo.texts import read_asset, render, translate
from nextgpt_lite.inspection.examples import EXAMPLES, INGREDIENTS, ingredient, portraits

TITLE = "nextgpt_lite"
#: Numbers of the examples below the empty chat.
FIRST = (1, 3, 4, 9, 18)
#: Symbols by the type that browsers know of a medium's files.
SYMBOLS = {"image": "▣", "audio": "♪", "video": "▶"}


def head() -> str:
    """The page's head: scripts, and style of the frame around the components, to which gradio confines other styles."""
    scripts = "".join(f"<script>{read_asset(name)}</script>" for name in ("loop_videos.js", "plain_text.js"))
    return f"<style>{read_asset('frame.css')}</style>{scripts}"


def theme() -> Base:
    """The theme of ``demo/assets/theme.yaml``."""
    settings = yaml.safe_load(read_asset("theme.yaml"))
    return Soft(**settings["base"]).set(**settings["variables"])


def heading(language: str) -> str:
    """The page's name and one line."""
    return f"<h1><i></i>{TITLE}</h1><p>{translate(language, 'line')}</p>"


def empty_chat(language: str) -> str:
    """What stands in the chat before the first message: an image of each thing of the toy world."""
    return render("empty_chat", language, portraits=_portraits())


@cache
def _portraits() -> dict[str, str]:
    return {thing: image_url(array, quality=85) for thing, array in portraits(72).items()}


def chips(language: str) -> str:
    """A few examples in a row."""
    return _render(language, FIRST)


def matrix(language: str) -> str:
    """All examples: a row for what is sent, a column for what is generated."""
    return _render(language, ())


def _render(language: str, first: tuple[int, ...]) -> str:
    rows: dict[str | None, dict[str, int]] = {}
    for number, example in enumerate(EXAMPLES):
        rows.setdefault(example.given, {})[example.made] = number
    symbols = {name: SYMBOLS.get(_family(name), "⁘") for name in MODALITIES} | {None: "Aa", "text": "Aa"}
    return render(
        "gallery", language, examples=EXAMPLES, first=first, matrix=list(rows.items()), symbols=symbols,
        previews=_previews(),
    )  # fmt: skip


@cache
def _previews(size: int = 48) -> dict[str, np.ndarray]:
    """A small image (``size``, ``size``, 3) of what examples attach, except of what is only heard."""
    previews = {}
    for name, (modality, _) in INGREDIENTS.items():
        if modality not in previews and _family(modality) != "audio":
            image = MODALITIES[modality].preview(ingredient(name)["array"])
            previews[modality] = np.asarray(Image.fromarray(image).resize((size, size)))
    return previews


def _family(modality: str) -> str:
    return MODALITIES[modality].mime.partition("/")[0]
