"""The page's appearance. Everything comes from this machine: no font, script or image of another host."""

from __future__ import annotations

from functools import cache

import yaml
from gradio.themes import Base, Soft

from demo.data_urls import image_url
from demo.page.templates import render
from demo.texts import read_asset, translate
from nextgpt_lite.inspection.examples import portraits

TITLE = "nextgpt_lite"


def head() -> str:
    """The page's head: style of the frame around gradio's components, to which gradio confines other styles."""
    return f"<style>{read_asset('frame.css')}</style><script>{read_asset('loop_videos.js')}</script>"


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
