"""The files that a newcomer and continuous integration rely on are there and agree with each other."""

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("adapters", "data", "decoders", "demo", "encoders", "evaluation", "nextgpt_lite", "train")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = ("setup", "demo", "test", "test-slow", "lint", "lock", "nano", "evaluate")


def sources() -> list[Path]:
    """The project's own text files: no environment, cache or output of a run."""
    outside = {".venv", ".git", ".cache", "runs", "outputs", "node_modules", "build"}
    suffixes = {".py", ".yaml", ".toml", ".md", ".cfg", ".html", ".css", ".js", ".json"}
    files = [file for file in ROOT.rglob("*") if file.suffix in suffixes or file.name in ("Makefile", "run")]
    return [file for file in files if not outside & set(file.relative_to(ROOT).parts) and file.is_file()]


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "LICENSE", "CONTRIBUTING.md", ".ci/run"])
def test_house_files_exist(name):
    assert (ROOT / name).stat().st_size > 100


def test_continuous_integration_lints_and_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci/run").read_text()
    assert re.search(r"^make lint$", script, flags=re.MULTILINE)
    assert re.search(r"^make test$", README, flags=re.MULTILINE)
    assert re.search(r"^make test$", script, flags=re.MULTILINE)
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True)


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_its_targets(target):
    assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE)


def test_make_refuses_an_old_python_in_a_sentence(tmp_path):
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_extras_that_are_named_exist():
    """In pages and messages: of this checkout, since no index has the project."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = re.compile(r"pip install (?:-e )?['\"]?(\.|nextgpt[-_]lite)(?:\[([a-z,]+)\])?['\"`\s]")
    modules = (file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *modules]
    named = [(*found, file) for file in files for found in installed.findall(file.read_text(encoding="utf-8"))]
    assert [place for place in named if place[0] != "." or not set(place[1].split(",")) <= {*extras, ""}] == []
    assert {file.name for _, extra, file in named if extra == "quant"} >= {"language_models.py", "long_context.md"}


def test_readme_map_is_complete():
    """Every first-level file and folder of every room is named once, and nothing that does not exist."""
    block = README.split("## File map")[1].split("```")[1]
    room, named = "", []
    for line in filter(None, block.splitlines()):
        name = line.split()[0]
        room = name if not line.startswith(" ") else room
        named.append(name if name == room else room + name)
    found = [f"{room}/" for room in (*ROOMS, "tests", "docs")]
    for room in ROOMS:
        for path in (ROOT / room).iterdir():
            if path.suffix == ".py" and path.name != "__init__.py":
                found.append(f"{room}/{path.name}")
            elif path.is_dir() and path.name != "__pycache__":
                found.append(f"{room}/{path.name}/")
    assert sorted(named) == sorted(found)


def test_folders_and_files_stay_small():
    """At most 20 files in a folder and 350 lines in a file of code."""
    found = [path for top in (*ROOMS, "tests", "docs") for path in (ROOT / top).rglob("*")]
    files = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    folders = Counter(file.parent for file in files)
    assert [str(folder) for folder, count in folders.items() if count > 20] == []
    code = [file for file in files if file.suffix == ".py"]
    assert [str(file) for file in code if len(file.read_text("utf-8").splitlines()) > 350] == []


def test_no_path_of_a_machine():
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users|work|farm|mnt|tmp|opt)/\w")
    found = [str(file) for file in sources() if pattern.search(file.read_text(encoding="utf-8"))]
    assert found == []


def test_every_room_is_packaged():
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert {f"{room}*" for room in ROOMS} == set(find["include"])
    folders = {file.parent for room in ROOMS for file in (ROOT / room).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_package_under_tests():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_ci_script_is_executable():
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
