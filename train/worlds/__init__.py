"""What the foundations learn from: the generated Toybox, or manifests of one's own. Recipes name it in ``data``.

``task_settings: {data: []}`` is Toybox, ``{data: [{path: digits/train.jsonl}]}`` a manifest, or several as one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.manifest import FormatError
from train.recipe import RecipeError
from train.worlds.base import ENDLESS, MediaStream, World
from train.worlds.manifest_world import ManifestWorld
from train.worlds.toybox_world import ToyboxWorld


def open_world(data: list[dict[str, Any]]) -> World:
    """The world of a recipe's ``data``; RecipeError for what is not there or cannot be read.

    Weights, by which stages mix sources, mean nothing here: a foundation sees every medium of every manifest.
    """
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise RecipeError(f"data must be a list of {{path: MANIFEST.jsonl}}, not {data!r}")
    if not data or all(entry.get("toybox") for entry in data):
        return ToyboxWorld()
    missing = [entry for entry in data if not isinstance(entry.get("path"), str)]
    if missing:
        raise RecipeError(f"data: {missing[0]!r} has no path, and foundations do not mix manifests with Toybox")
    try:
        return ManifestWorld([Path(entry["path"]) for entry in data])
    except FormatError as error:
        raise RecipeError(str(error)) from error


__all__ = ["ENDLESS", "ManifestWorld", "MediaStream", "ToyboxWorld", "World", "open_world"]
