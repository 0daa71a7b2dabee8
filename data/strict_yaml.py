"""YAML of users: what readers of YAML 1.1 and 1.2 take for different things is refused, with its line.

Plain ``yes``, ``off`` and ``2020-01-01`` are texts, ``1e-3`` is a number, both as in YAML 1.2. Keys given twice,
``010`` (8 or 10?), ``1:30`` (90?), ``.nan`` and ``.inf`` are errors.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from data.strict import SettingsError
from data.text_files import read_text


class LocatedMapping(dict):
    """A mapping with the ``lines`` of its keys, which :func:`data.strict.read_settings` names."""

    lines: dict[Any, int] = {}


class Loader(yaml.SafeLoader):
    """Numbers, true, false, null and texts; a key without a value is null."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class FilledLoader(Loader):
    """The same, but a key without a value is refused: ``data: $DATA`` was written without the variable."""


class TextLoader(Loader):
    """Mappings and lists of texts, as they are spelt."""

    yaml_implicit_resolvers: dict[str, Any] = {}


def read_yaml(path: Path, kind: str, loader: type[Loader] = FilledLoader) -> dict[str, Any]:
    """The mapping in a YAML file, which is a ``kind`` in words. SettingsError, with the line, where there is none."""
    if not path.is_file():
        raise SettingsError(f"no {kind} at {path}")
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    values = parse_yaml(text, str(path), loader)
    if not isinstance(values, dict):
        raise SettingsError(f"{path} holds no mapping of keys to values")
    return values


def parse_yaml(text: str, where: str, loader: type[Loader] = FilledLoader) -> Any:
    """The value in a YAML text. SettingsError, which begins with ``where``."""
    try:
        return yaml.load(text, loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        tab = " (indent with spaces, not with tabs)" if "'\\t'" in str(error.problem) else ""
        raise SettingsError(f"{where}{line}: {error.problem}{tab}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # characters, numbers of 5,000 digits, deep nesting
        raise SettingsError(f"{where}: not YAML ({str(error).splitlines()[0]})") from error


def _refuse(node: yaml.Node, problem: str) -> None:
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _mapping(loader: Loader, node: yaml.MappingNode) -> LocatedMapping:
    values = LocatedMapping()
    values.lines = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | None):
            _refuse(key_node, "a key must be a text or a number")
        if key in values:
            _refuse(key_node, f"{key_node.value!r} is given twice, first in line {values.lines[key]}")
        values.lines[key] = key_node.start_mark.line + 1
        values[key] = loader.construct_object(value_node, deep=True)
    return values


def _integer(loader: Loader, node: yaml.ScalarNode) -> int:
    return int(node.value, 16 if "x" in node.value else 10)


def _number(loader: Loader, node: yaml.ScalarNode) -> float:
    if not math.isfinite(value := float(node.value)):
        _refuse(node, f"{node.value} is more than a number can be")
    return value


def _ambiguous(loader: Loader, node: yaml.ScalarNode) -> None:
    _refuse(node, f"{node.value} is not a decimal number: write it as one, or in quotes where it is a text")


def _nothing(loader: Loader, node: yaml.ScalarNode) -> None:
    if isinstance(loader, FilledLoader) and not node.value:
        _refuse(node, "a key or an item has no value: write null where none is meant")


#: Tag, spellings and constructor of plain values; the first that fits counts.
_PLAIN = (
    ("!odd", r"[-+]?(0[\d_]+|0[ob][\d_]+|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?|\.(?i:inf))|\.(?i:nan)", _ambiguous),
    ("!integer", r"[-+]?(\d[\d_]*|0x[\da-fA-F_]+)", _integer),
    ("!number", r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", _number),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", yaml.SafeLoader.construct_yaml_bool),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", _nothing),
)
for _tag, _pattern, _construct in _PLAIN:
    Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), None)
    Loader.add_constructor(_tag, _construct)
Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
yaml.SafeDumper.add_representer(LocatedMapping, yaml.SafeDumper.represent_dict)
