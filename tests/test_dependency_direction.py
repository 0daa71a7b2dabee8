"""Imports go one way. This table is the architecture; a new arrow in it is a decision, not a convenience."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: The ground floor, which every room may import.
EVERYONE_MAY_IMPORT = {
    "data.modalities",
    "data.previews",
    "data.atomic",
    "data.run_files",
    "data.hashes",
    "data.strict",
    "data.resampling",
    "data.parts",
    "data.boxes",
    "data.sureness",
    "data.poses",
    "data.text_files",
    "data.pretrained",
    "data.media.colouring",
}
MAY_IMPORT = {
    "encoders": set(),
    "adapters": set(),
    "decoders": set(),
    "data": set(),
    "nextgpt_lite": {"encoders", "adapters", "decoders", "data"},
    "train": {"nextgpt_lite", "encoders", "adapters", "decoders", "data"},
    "evaluation": {"nextgpt_lite", "encoders", "adapters", "decoders", "data"},
    "demo": {"nextgpt_lite"},
}
#: Files with one arrow more, and why: oracles and judges that evaluation scores with are trained by the common trainer.
#: (nextgpt_lite/cli.py names the modules of its subcommands as text and imports the one that was called.)
#: A decoder whose text encoder is the encoders' own.
EXCEPTIONS = {
    f"train/foundations/classifiers/{name}.py": {"evaluation"} for name in ("oracles", "judges", "damage")
} | {"decoders/phrase_decoder.py": {"encoders"}}


def imported_rooms(source: str, room: str) -> Iterator[tuple[int, str]]:
    """Line and room of each import of another room in ``source``, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        names = [name for name in names if name not in EVERYONE_MAY_IMPORT]
        for name in names:
            top = name.partition(".")[0]
            if top in MAY_IMPORT and top != room:
                yield node.lineno, top


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room):
    wrong = []
    for file in sorted((ROOT / room).rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[room] | EXCEPTIONS.get(name, set())
        found = imported_rooms(file.read_text(encoding="utf-8"), room)
        wrong += [f"{name}:{line} imports {other}" for line, other in found if other not in allowed]
    assert wrong == []


def test_every_room_holds_code():
    assert [room for room in MAY_IMPORT if not list((ROOT / room).glob("*.py"))] == []


def test_nothing_imports_the_tests():
    for room in MAY_IMPORT:
        for file in (ROOT / room).rglob("*.py"):
            roots = {node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)}
            assert not {name for name in roots if name and name.partition(".")[0] == "tests"}, file


def test_an_import_inside_a_function_is_seen():
    source = "def later():\n    from decoders.base import Decoder\n    return Decoder\n"
    assert list(imported_rooms(source, "encoders")) == [(2, "decoders")]


def imported_modules(source: str) -> Iterator[str]:
    """Every module, or name of a module, that ``source`` imports, dotted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_embedded_world_is_imported_by_its_interface_alone():
    """Outside ``data/toybox`` only what ``data.toybox`` itself offers is used: a second world can then be a sibling."""
    inside = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "data/toybox").rglob("*")}
    wrong = []
    for room in MAY_IMPORT:
        for file in (ROOT / room).rglob("*.py"):
            if not file.is_relative_to(ROOT / "data/toybox"):
                modules = imported_modules(file.read_text(encoding="utf-8"))
                wrong += [f"{file.relative_to(ROOT)} imports {m}" for m in modules if m.replace(".", "/") in inside]
    assert wrong == []


def inner_imports() -> dict[str, set[str]]:
    """Module of nextgpt_lite -> the modules of nextgpt_lite that it imports when it is itself imported."""
    names = {
        file.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): file
        for file in (ROOT / "nextgpt_lite").rglob("*.py")
        if file.name != "__init__.py"
    }
    found = {}
    for name, file in names.items():
        top = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if "Import" in type(node).__name__]
        modules = set(imported_modules(ast.unparse(ast.Module(top, []))))
        found[name] = modules & set(names)
    return found


def test_no_library_imports_a_command():
    """A command is what a user calls; what it shares with others stands outside ``commands/`` and ``*command.py``."""
    wrong = []
    for room in MAY_IMPORT:
        for file in (ROOT / room).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            if "commands/" not in name and not name.endswith("command.py"):
                modules = imported_modules(file.read_text(encoding="utf-8"))
                wrong += [f"{name} imports {m}" for m in modules if re.search(r"\.commands(\.|$)|command$", m)]
    assert wrong == []


def test_nextgpt_lite_has_no_circle():
    remaining = inner_imports()
    while free := [name for name, imports in remaining.items() if not imports & set(remaining)]:
        for name in free:
            del remaining[name]
    assert sorted(remaining) == []


def test_the_table_is_the_documented_one():
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## Who imports whom")[1]
    rows = [re.findall(r"`(\w+)`", line) for line in section.splitlines() if line.startswith("| `")]
    assert {room: set(imports) for room, *imports in rows} == MAY_IMPORT
