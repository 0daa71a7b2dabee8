"""Typed settings: a frozen dataclass says which keys a mapping may have, of which types, in which ranges.

    @dataclass(frozen=True)
    class Settings:
        steps: int = setting(100, low=1, help="optimiser steps")
        schedule: str = setting("cosine", choices=("cosine", "linear"), help="of the learning rate")

    settings = read_settings(Settings, {"steps": 5}, "recipe.yaml")

Fields may be of types int, float, bool, str, None, Any, ``list[T]``, ``tuple[T, ...]``, ``tuple[T, T]``,
``dict[str, T]``, ``Literal[...]``, another dataclass, or a union of these.
"""

import copy
import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast

from data.text_files import parse_json

T = TypeVar("T")
#: Types of keywords by name: modules may write their annotations as text.
SIMPLE: dict[Any, Any] = {"int": int, "float": float, "bool": bool, "str": str}
#: Numbers that YAML 1.1 reads as text: those with an exponent and no sign or no point.
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
#: Names of ranges in a field's metadata -> the words for them and the check.
RANGES: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "low": ("at least", lambda value, bound: value >= bound),
    "above": ("above", lambda value, bound: value > bound),
    "high": ("at most", lambda value, bound: value <= bound),
    "below": ("below", lambda value, bound: value < bound),
}


class SettingsError(ValueError):
    """A file or mapping of settings that cannot be used, with one sentence that says why."""


def setting(
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Iterable[str] | None = None,
    alias: str = "",
    help: str = "",
) -> Any:
    """A field of a settings dataclass; without a default its key must be given. Lists and mappings are copied.

    Args:
        low, high: the least and the greatest value. Of a list or mapping: of each number in it.
        above, below: the same, the bound excluded.
        choices: names that a text (or each text of a list) may be.
        alias: another name that the key may have.
        help: one line for ``--dry-run`` and the documentation.
    """
    bounds = {"low": low, "above": above, "high": high, "below": below}
    metadata: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    metadata |= {"choices": tuple(choices)} if choices is not None else {}
    metadata |= {"alias": alias, "help": help}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read_settings(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``cls`` from ``mapping``.

    SettingsError, a sentence that begins with ``where`` (and the line, where :mod:`data.strict_yaml` read it): for an
    unknown or missing key, a value of the wrong type, out of its range, NaN or infinite, and for what
    ``cls.__post_init__`` refuses with a ValueError.
    """
    if not isinstance(mapping, Mapping):
        raise SettingsError(f"{where}: expected a mapping of keys to values, not {mapping!r}")
    known = {field.name: field for field in dataclasses.fields(cast(Any, cls))}
    aliases = {field.metadata["alias"]: name for name, field in known.items() if field.metadata.get("alias")}
    lines = {aliases.get(key, key): f", line {line}" for key, line in getattr(mapping, "lines", {}).items()}
    for alias, name in aliases.items():
        if alias in mapping and name in mapping:
            raise SettingsError(f"{where}: {alias} and {name} are one key: expected one of them")
    mapping = {aliases.get(key, key): value for key, value in mapping.items()}
    for key in mapping:
        if key not in known:
            raise SettingsError(f"{where}{lines.get(key, '')}: unknown key {key!r}{nearest(str(key), known)}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in known.items():
        if name in mapping:
            place = where + lines.get(name, "")
            values[name] = _read(hints[name], mapping[name], field.metadata, place, name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{where}: missing key {name!r}")
    try:
        return cls(**values)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def construct(kind: Callable[..., T], settings: Mapping[str, Any], where: str, *given: Any) -> T:
    """``kind(*given, **settings)``.

    SettingsError, a sentence that begins with ``where``: for a keyword that ``kind`` does not take, one that is missing
    or is ``given`` already, and a value of another type where it says that it takes a number, a text, or true or false.
    """
    parameters = list(inspect.signature(kind).parameters.values())[len(given) :]
    known = {each.name: each for each in parameters}
    for key, value in settings.items():
        if key not in known:
            raise SettingsError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        annotation = known[key].annotation
        if simple := SIMPLE.get(getattr(annotation, "__name__", annotation)):
            _read(simple, value, {}, where, key)
    for name, each in known.items():
        if each.default is inspect.Parameter.empty and name not in settings:
            raise SettingsError(f"{where}: missing key {name!r}")
    try:
        return kind(*given, **settings)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. SettingsError where it cannot be read or is no object."""
    try:
        values = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} must hold a JSON object, not {values!r}")
    return values


def sentence(error: BaseException, length: int = 300) -> str:
    """What an exception of a library says, in one line; with its kind where the words alone would not do."""
    words = " ".join(str(error).split())[:length]
    return words if isinstance(error, ValueError | OSError) and words else f"{type(error).__name__} ({words})"


def nearest(key: str, known: Iterable[str]) -> str:
    """``": did you mean 'x'?"`` when a known name is close, else the list of known names."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f": expected one of {', '.join(known) or 'none'}"


def setting_lines(settings: Any) -> Iterator[str]:
    """``name: value  # help`` of each field of a settings dataclass, for people to read."""
    for field in dataclasses.fields(settings):
        help_text = field.metadata.get("help", "")
        yield f"{field.name}: {getattr(settings, field.name)!r}" + (f"  # {help_text}" if help_text else "")


def _read(kind: Any, value: Any, metadata: Mapping[str, Any], where: str, key: str) -> Any:
    """``value`` as ``kind``; SettingsError names ``where``, ``key``, the value and what is allowed."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        fitting = [member for member in arguments if _is_of_form(member, value)]
        kind = next((member for member in fitting if type(value) is member), fitting[0] if fitting else kind)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if not _is_of_form(kind, value) or not _in_range(value, metadata):
        raise SettingsError(
            f"{where}: {key} must be {_allowed(kind, metadata)}, not {value!r}{_close(kind, value, metadata)}"
        )
    if dataclasses.is_dataclass(kind):
        return read_settings(cast(type, kind), value, f"{where}: {key}") if isinstance(value, Mapping) else value
    if origin in (list, tuple):
        each = arguments if origin is tuple and arguments[1:] != (...,) else arguments[:1] * len(value)
        return origin(
            _read(item_kind, item, metadata, where, f"{key}[{index}]")
            for index, (item_kind, item) in enumerate(zip(each, value, strict=True))
        )
    if origin is dict:
        return {name: _read(arguments[1], item, metadata, where, f"{key}.{name}") for name, item in value.items()}
    return kind(float(value) if isinstance(value, str) else value) if kind in (int, float) else value


def _is_of_form(kind: Any, value: Any) -> bool:
    """Whether a value of YAML may stand for ``kind``; what is inside a list or a mapping is not looked at."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        size = None if origin is list or arguments[1:] == (...,) else len(arguments)
        return isinstance(value, list | tuple) and size in (None, len(value))
    if origin is dict:
        return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    if origin is Literal:
        return any(value == name and type(value) is type(name) for name in arguments)
    if dataclasses.is_dataclass(kind):
        return isinstance(value, Mapping | cast(type, kind))
    if kind in (int, float):
        number = _number(value)
        return number is not None and (kind is float or number == int(number))
    return kind is Any or (isinstance(kind, type) and isinstance(value, kind))


def _number(value: Any) -> float | None:
    """A finite number, or None for all else: true, NaN, infinity and texts but those with an exponent."""
    if isinstance(value, str) and EXPONENT.fullmatch(value):
        value = float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _in_range(value: Any, metadata: Mapping[str, Any]) -> bool:
    number = _number(value)
    if number is not None:
        return all(holds(number, metadata[name]) for name, (_, holds) in RANGES.items() if name in metadata)
    return not isinstance(value, str) or value in metadata.get("choices", (value,))


def _close(kind: Any, value: Any, metadata: Mapping[str, Any]) -> str:
    close = nearest(value, metadata.get("choices", ())) if kind is str and isinstance(value, str) else ""
    return close if close.endswith("?") else ""


def _allowed(kind: Any, metadata: Mapping[str, Any]) -> str:
    """What a field may be, in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    bounds = " and ".join(f"{words} {metadata[name]:g}" for name, (words, _) in RANGES.items() if name in metadata)
    if origin in (Union, types.UnionType):
        return " or ".join(_allowed(argument, metadata) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (list, tuple):
        length = f" of {len(arguments)}" if origin is tuple and arguments[1:] != (...,) else ""
        return f"a list{length}, each item {_allowed(arguments[0], metadata)}"
    if origin is dict:
        return f"a mapping of names, each value {_allowed(arguments[1], metadata)}"
    if kind in (int, float):
        return ", ".join(filter(None, ("an integer" if kind is int else "a number", bounds)))
    if kind is str and "choices" in metadata:
        return f"one of {', '.join(metadata['choices'])}"
    return {bool: "true or false", str: "text", type(None): "null", Any: "any value"}.get(kind, "a mapping")
