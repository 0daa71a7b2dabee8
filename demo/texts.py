"""Texts in English and Chinese, from ``demo/assets/texts.yaml``; names of media come from the registry."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from data.modalities import MODALITIES

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
