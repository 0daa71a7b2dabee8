"""Typed settings: what a mapping may hold, and the sentence that says what is wrong with it."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest

from data.strict import SettingsError, construct
from tests.train.short_recipes import stage
from train.settings import RecipeError, read_settings, setting, setting_lines
from train.task import build_task


@dataclass(frozen=True)
class Lora:
    rank: int = setting(8, low=1)


@dataclass(frozen=True)
class Settings:
    name: str
    items: int = setting(3, low=1, high=9, help="of a pass")
    share: float = setting(0.5, above=0, below=1)
    widths: tuple[int, ...] = setting((4, 8), low=1)
    kinds: list[str] = setting([], choices=("chat", "count"))
    data: list[str | dict[str, Any]] = setting([])
    shares: dict[str, float] = setting({"image": 1}, low=0)
    form: bool | Literal["auto"] = setting(False)
    limit: int | None = setting(None, low=1)
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if self.items == 7:
            raise ValueError("items must not be 7")


def read(**changes):
    return read_settings(Settings, {"name": "a", **changes}, "task X")


def test_defaults_and_values_have_the_declared_types():
    assert read() == Settings("a") and read().shares is not read().shares
    made = read(share="5e-1", widths=[2], data=["a", {"path": "b"}], shares={"a": 1}, form="auto", lora={"rank": 4})
    assert made == Settings("a", 3, 0.5, (2,), [], ["a", {"path": "b"}], {"a": 1.0}, "auto", None, Lora(4))
    assert isinstance(made.shares["a"], float) and isinstance(read(items=4.0).items, int)
    assert "items: 3  # of a pass" in setting_lines(read())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"itms": 3}, "task X: unknown key 'itms': did you mean 'items'?"),
        ({"name": 3}, "task X: name must be text, not 3"),
        ({"items": "abc"}, "task X: items must be an integer, at least 1 and at most 9, not 'abc'"),
        ({"items": True}, "task X: items must be an integer, at least 1 and at most 9, not True"),
        ({"items": 10}, "task X: items must be an integer, at least 1 and at most 9, not 10"),
        ({"items": 7}, "task X: items must not be 7"),
        ({"share": 0}, "task X: share must be a number, above 0 and below 1, not 0"),
        ({"share": math.nan}, "task X: share must be a number, above 0 and below 1, not nan"),
        ({"share": math.inf}, "task X: share must be a number, above 0 and below 1, not inf"),
        ({"share": "0.5"}, "task X: share must be a number, above 0 and below 1, not '0.5'"),
        ({"widths": [3, 0]}, "task X: widths[1] must be an integer, at least 1, not 0"),
        ({"widths": 3}, "task X: widths must be a list, each item an integer, at least 1, not 3"),
        ({"kinds": ["chta"]}, "task X: kinds[0] must be one of chat, count, not 'chta': did you mean 'chat'?"),
        ({"kinds": "chat"}, "task X: kinds must be a list, each item one of chat, count, not 'chat'"),
        ({"data": [3]}, "task X: data[0] must be text or a mapping of names, each value any value, not 3"),
        ({"shares": {"a": -1}}, "task X: shares.a must be a number, at least 0, not -1"),
        ({"limit": 0}, "task X: limit must be an integer, at least 1, not 0"),
        ({"limit": "x"}, "task X: limit must be an integer, at least 1 or null, not 'x'"),
        ({"lora": {"rnk": 1}}, "task X: lora: unknown key 'rnk': did you mean 'rank'?"),
        ({"lora": {"rank": 0}}, "task X: lora: rank must be an integer, at least 1, not 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(changes, sentence):
    with pytest.raises(RecipeError) as caught:
        read(**changes)
    assert str(caught.value) == sentence


def test_a_missing_key_and_what_is_no_mapping():
    with pytest.raises(RecipeError, match="task X: missing key 'name'"):
        read_settings(Settings, {}, "task X")
    with pytest.raises(RecipeError, match="task X: expected a mapping of keys to values, not 3"):
        read_settings(Settings, 3, "task X")  # type: ignore[arg-type]  # what a recipe may hold


class Part:
    """Something with settings of its own, behind one that it is given."""

    def __init__(self, width: int, depth: int, rate: float = 0.5, names: tuple[str, ...] = ()) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self.made = width, depth, rate, names


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"depth": 2, "widht": 1}, "part: unknown key 'widht': expected one of depth, rate, names"),
        ({"depth": 2, "width": 1}, "part: unknown key 'width': did you mean 'depth'?"),
        ({"depth": 2, "rat": 1}, "part: unknown key 'rat': did you mean 'rate'?"),
        ({"rate": 1}, "part: missing key 'depth'"),
        ({"depth": "two"}, "part: depth must be an integer, not 'two'"),
        ({"depth": 2, "rate": None}, "part: rate must be a number, not None"),
        ({"depth": 0}, "part: depth must be at least 1, not 0"),
    ],
)
def test_what_a_part_does_not_take_is_one_sentence(settings, sentence):
    with pytest.raises(SettingsError) as caught:
        construct(Part, settings, "part", 8)
    assert str(caught.value) == sentence


def test_a_part_is_made_of_its_settings():
    assert construct(Part, {"depth": 2, "names": ["a"]}, "part", 8).made == (8, 2, 0.5, ["a"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"input_projection_settings": {"width": 3}}, "input_projection_settings: unknown key 'width'"),
        ({"output_projection_settings": {"heads": "two"}}, "output_projection_settings: heads must be an integer"),
        ({"bind": {"inner": 3}}, "bind: unknown key 'inner'"),
        ({"prompts": {"media": 1}}, "prompts: unknown key 'media'"),
    ],
)
def test_settings_of_a_cores_parts_are_refused_by_name(settings, sentence, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = stage("encoding_alignment", tiny_folder)
    with pytest.raises(RecipeError, match=sentence):
        build_task(replace(recipe, task_settings=recipe.task_settings | settings))
