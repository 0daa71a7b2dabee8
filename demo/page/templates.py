"""HTML from the templates in ``demo/assets/templates``. Values are escaped; media are put in as data URLs."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from demo.data_urls import file_url, image_url, mime_type
from demo.texts import ASSETS, translate


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
