"""What a model is to be composed of: words of the command line, or a YAML file of the same shape.

    name: mine
    parts:
      language_model: qwen3                 # a folder, relative to the file
      encoder: {path: clip, settings: {layer: -2, class_token: false}}
      image_decoder: {path: stable-diffusion, settings: {steps: 30}}
    chat_template: separator

On the command line ``encoder=clip encoder.settings.layer=-2``; a folder alone is recognised by what it holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.strict import SettingsError, nearest, read_settings, setting
from data.strict_yaml import parse_yaml, read_yaml
from nextgpt_lite.checkpoint import component_names
from nextgpt_lite.compose.recognise import recognise
from nextgpt_lite.compose.templates import JINJA

#: Components that no part can be: the stages make them.
TRAINED = ("core", "context_adapter", "cache", "image_critic")
NAMES = tuple(name for name in component_names() if name not in TRAINED)
REQUIRED = ("language_model", "encoder")
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Part:
    """A folder, and what its ``encoder.json`` or ``decoder.json`` is to say."""

    path: str = setting(help="folder of the part, as save_pretrained or a download wrote it")
    settings: dict[str, Any] = setting({}, help="of an encoder or a decoder")


@dataclass(frozen=True)
class Composition:
    """The keys of a YAML file of a model."""

    parts: dict[str, Part | str] = setting(help="component -> the folder that it is, or a mapping")
    name: str = setting("", help="of the model; default: that of its folder")
    chat_template: str = setting("", help="separator, or a .jinja file: in place of the tokenizer's own, if any")

    def __post_init__(self) -> None:
        for name in self.parts:
            if name not in NAMES:
                raise SettingsError(f"unknown part {name!r}{nearest(name, NAMES)}")

    def part(self, name: str) -> Part | None:
        """A part, whether it was given as a path or as a mapping."""
        part = self.parts.get(name)
        return Part(part) if isinstance(part, str) else part


def read_composition(words: Sequence[str]) -> Composition:
    """The composition that the command line names. SettingsError, one sentence, for what it cannot be."""
    composition, rest = Composition({}), list(words)
    if rest and "=" not in rest[0] and Path(rest[0]).suffix in YAML_SUFFIXES:
        composition = _read_file(Path(rest.pop(0)))
    for word in rest:
        composition = _with(composition, word)
    if missing := [name for name in REQUIRED if name not in composition.parts]:
        raise SettingsError(f"there is no {missing[0]} among the parts: give {missing[0]}=FOLDER")
    return composition


def _read_file(path: Path) -> Composition:
    """The composition of a file, its paths relative to the file's folder."""
    composition = read_settings(Composition, read_yaml(path, "composition"), str(path))
    parts = {name: part for name in composition.parts if (part := composition.part(name))}
    beside = {name: replace(part, path=str(path.parent / part.path)) for name, part in parts.items()}
    template = composition.chat_template
    if template.endswith(JINJA):
        template = str(path.parent / template)
    return replace(composition, parts=beside, chat_template=template)


def _with(composition: Composition, word: str) -> Composition:
    """The composition with ``part=FOLDER``, ``part.settings.key=value``, ``chat_template=NAME``, or a folder alone."""
    key, equals, text = word.partition("=")
    if not equals:
        key, text = recognise(Path(word)), word
        if already := composition.part(key):
            raise SettingsError(f"{already.path} and {word} are both the {key}: give {key}=FOLDER once")
    if not text.strip():
        raise SettingsError(f"{word!r} has no value: expected part=FOLDER")
    if key in ("name", "chat_template"):
        return replace(composition, **{key: text})
    name, dot, rest = key.partition(".")
    part = Part(text)
    if dot:
        known, (group, _, setting_name) = composition.part(name), rest.partition(".")
        if known is None or group != "settings" or not setting_name:
            raise SettingsError(f"{word!r} must be part.settings.KEY=VALUE, after part=FOLDER")
        part = replace(known, settings=known.settings | {setting_name: parse_yaml(text, repr(word))})
    return replace(composition, parts={**composition.parts, name: part})
