"""The page's appearance, and the examples that it shows. No font, script or image comes from another host."""

import inspect
from functools import cache

import numpy as np
import yaml
from gradio.themes import Base, Soft
from PIL import Image

from data.modalities import MODALITIES
from demo.data_urls import image_url
from demo.texts import ASSETS, read_asset, render, translate
from nextgpt_lite.inspection.examples import EXAMPLES, INGREDIENTS, ingredient

TITLE = "nextgpt_lite"
#: Scripts that run before gradio's: the page's language and colours, its own elements.
SCRIPTS = ("page.js", "sound_player.js", "point_cloud.js")

#: Parts of gradio's components that it names in English alone -> their names here, keys of demo.texts.
NAMES = {
    "#tabs .overflow-menu > button": "more_tabs",
    ".upload-container": "attach",
    "[data-testid=upload-button]": "attach",
    "[data-testid=submit-button]": "send",
    "[data-testid=reset-button]": "reset_value",
    ".full-container[role=group]": "message_label",
}


def names(language: str) -> dict[str, str]:
    """Names in a language of what gradio names in English, by selector: see scripts/page.js."""
    return {selector: translate(language, key) for selector, key in NAMES.items()}


def head() -> str:
    """The page's head: scripts, and style sheets, which gradio would confine to its own components."""
    scripts = "".join(f"<script>{read_asset(f'scripts/{name}')}</script>" for name in SCRIPTS)
    styles = "".join(path.read_text(encoding="utf-8") for path in sorted((ASSETS / "styles").glob("*.css")))
    return f"<style>{styles}</style>{scripts}"


def theme() -> Base:
    """The theme of ``demo/assets/theme.yaml``; in the dark its variables have the same values."""
    settings = yaml.safe_load(read_asset("theme.yaml"))
    known = inspect.signature(Base.set).parameters
    dark = {f"{name}_dark": value for name, value in settings["variables"].items()}
    dark = {name: value for name, value in dark.items() if name in known}
    return Soft(**settings["base"]).set(**settings["variables"], **dark)


def matrix(language: str) -> str:
    """All examples: a row for what is sent, a column for what is generated."""
    rows: dict[str | None, dict[str, int]] = {}
    for number, example in enumerate(EXAMPLES):
        rows.setdefault(example.given, {})[example.made] = number
    return render("gallery", language, examples=EXAMPLES, matrix=list(rows.items()), previews=previews())


@cache
def previews(size: int = 96) -> dict[str, str]:
    """A small image of what examples attach, as a data URL by modality, of what browsers show as images and videos."""
    found = {}
    for name, (modality, _) in INGREDIENTS.items():
        if modality not in found and MODALITIES[modality].mime.startswith(("image", "video")):
            image: np.ndarray = MODALITIES[modality].preview(ingredient(name)["array"])
            found[modality] = image_url(np.asarray(Image.fromarray(image).resize((size, size))), quality=85)
    return found
