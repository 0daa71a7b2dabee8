"""Texts in English and Chinese, and HTML from templates: all from ``demo/assets``.

Names of media come from the registry. Values in templates are escaped; media are put in as data URLs.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data.modalities import MODALITIES
from demo.data_urls import file_url, image_url, mime_type

ASSETS = Path(__file__).parent / "assets"
#: Codes of the interface's languages, and what each calls itself.
LANGUAGES = {"en": "English", "zh": "中文"}
_CHINESE = re.compile("[\u4e00-\u9fff]")


def read_asset(name: str) -> str:
    """A text file of ``demo/assets``."""
    return (ASSETS / name).read_text(encoding="utf-8")


TEXTS: dict[str, dict[str, str]] = yaml.safe_load(read_asset("texts.yaml"))


def translate(language: str, key: str, **values: object) -> str:
    """The text of ``key``, or a modality's name, in ``language`` ("en" or "zh"), with ``values`` put in."""
    texts = MODALITIES[key].words if key in MODALITIES else TEXTS[key]
    return texts[language].format(**values)


def request_for(modality: str, description: str) -> str:
    """A message that asks for a medium of ``modality`` of what is described, in the description's language."""
    language = "zh" if _CHINESE.search(description) else "en"
    key = f"request_{modality}" if f"request_{modality}" in TEXTS else "request"
    return translate(language, key, medium=translate(language, modality), description=description.strip())


def render(template: str, language: str, **values: Any) -> str:
    """A template by name, with ``values`` and, as ``t``, the texts of ``language``."""
    found = _ENVIRONMENT.get_template(f"{template}.html")
    return found.render(language=language, t=partial(translate, language), **values)


class _OneLine(FileSystemLoader):
    """Templates without line breaks and indentation: Markdown, in a chat's bubble, reads indented lines as code."""

    def get_source(self, environment: Environment, template: str):
        source, name, is_current = super().get_source(environment, template)
        return re.sub(r"\n\s*", "", source), name, is_current


_ENVIRONMENT = Environment(loader=_OneLine(ASSETS / "templates"), autoescape=True, undefined=StrictUndefined)
_ENVIRONMENT.globals |= {"image_url": image_url, "data_url": file_url, "mime_type": mime_type}
