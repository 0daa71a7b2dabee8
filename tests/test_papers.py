"""Pages of docs/papers: every link names something that exists, every setting and recipe too."""

import ast
import importlib
import inspect
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from peft import LoraConfig

from adapters import OUTPUT_PROJECTIONS, PATCH_PROJECTIONS, BindNetwork, VisualPrompts, llama_adapter_v2
from adapters.gated_prompts import PromptSettings
from nextgpt_lite.config import CoreConfig
from train import TASKS
from train.recipe import Recipe, read_recipe

PAPERS = Path(__file__).parents[1] / "docs/papers"
PAGES = ("longlora", "llama_adapter", "llama_adapter_v2", "imagebind", "imagebind_llm", "nextgpt", "llava_scaling")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#([\w.]+))?\)")
SETTING = re.compile(r"`(core|recipe|task)\.([\w.]+)`")
#: What the settings under a field of CoreConfig are arguments of.
CONFIGURED = {
    "prompts": PromptSettings,
    "bind": BindNetwork,
    "visual": VisualPrompts,
    "lora": LoraConfig,
    "bias_tuning": llama_adapter_v2.tune,
    "input_projection_settings": PATCH_PROJECTIONS["group"],
    "output_projection_settings": OUTPUT_PROJECTIONS["transformer"],
}
#: Files in which the formulas of a paper are. NExT-GPT's span the core, its losses, both projections and the decoders'
#: loss.
MAX_FILES = dict.fromkeys(PAGES, 3) | {"nextgpt": 5, "llava_scaling": 4}


def page(name: str) -> str:
    return (PAPERS / f"{name}.md").read_text(encoding="utf-8")


def links(text: str) -> list[tuple[str, str]]:
    """(path, name or "") of every relative link."""
    return [(path, name or "") for path, name in LINK.findall(text)]


@cache
def defined_names(file: Path) -> frozenset[str]:
    """Functions, classes and constants of a Python file, and methods as Class.method."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def arguments(of) -> set[str]:
    return set(inspect.signature(of).parameters)


def task_settings(recipe: Recipe) -> set[str]:
    module, _, name = TASKS[recipe.task].partition(":")
    return {field.name for field in fields(getattr(importlib.import_module(module), name).Settings)}


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_each_paper_has_a_page_that_the_index_names():
    assert {path.stem for path in PAPERS.glob("*.md")} == {*PAGES, "README"}
    assert {path for path, _ in links(page("README")) if path.endswith(".md")} == {f"{name}.md" for name in PAGES}


@pytest.mark.parametrize("name", [*PAGES, "README"])
def test_every_link_lands_on_a_defined_name(name):
    missing = []
    for path, target in links(page(name)):
        file = (PAPERS / path).resolve()
        if not file.is_file() or (target and target not in defined_names(file)):
            missing.append(f"{path}#{target}")
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_the_formulas_of_a_paper_are_in_a_few_files(name):
    formulas = section(page(name), "Formulas")
    files = {path for path, _ in links(formulas) if path.startswith("../../")}
    assert 1 <= len(files) <= MAX_FILES[name], sorted(files)


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_and_recipe_exists(name):
    for line in section(page(name), "Settings").splitlines():
        recipes = [read_recipe(PAPERS / path) for path, _ in links(line) if path.endswith(".yaml")]
        for kind, key in SETTING.findall(line):
            first, *rest = key.split(".")
            if kind == "recipe":
                assert first in {field.name for field in fields(Recipe)}, line
                continue
            if kind == "core":
                assert first in arguments(CoreConfig), line
            else:
                assert recipes, f"no recipe is named beside {key}"
                assert all(first in task_settings(recipe) for recipe in recipes), line
            assert all(inner in arguments(CONFIGURED[first]) for inner in rest), line


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_its_parts(name):
    text = page(name)
    assert [title for title in ("Formulas", "Settings", "Parity") if not section(text, title).strip()] == []
    if name != "llava_scaling":
        assert section(text, "Released code").strip()
        parity = {path for path, _ in links(section(text, "Parity"))}
        assert parity and all(path.startswith("../../tests/parity/") for path in parity)


def test_names_are_found_in_classes_and_assignments(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "LIMIT: int = 3\nFORMS = {}\n\n\nclass A:\n    def b(self): ...\n\n\ndef c(): ...\n", encoding="utf-8"
    )
    assert defined_names(file) == {"LIMIT", "FORMS", "A", "A.b", "c"}
