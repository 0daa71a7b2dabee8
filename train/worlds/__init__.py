"""What the foundations learn from: Toybox, the world of things, or manifests of one's own. Recipes name it in ``data``.

``task_settings: {data: []}`` is Toybox, ``{data: [{things: true}]}`` the world of things, ``{data: [{path:
digits/train.jsonl}]}`` a manifest, or several as one.
"""

from pathlib import Path
from typing import Any

from data.manifest import FormatError
from train.dialogues.records import AT_START, sources_of
from train.recipe import RecipeError
from train.worlds.base import ENDLESS, MediaStream, World
from train.worlds.manifest_world import ManifestWorld
from train.worlds.things_world import ThingsWorld
from train.worlds.toybox_world import ToyboxWorld


def open_world(data: Any) -> World:
    """The world of a recipe's ``data``, spelt as in train.dialogues.records; RecipeError for what cannot be read.

    Weights, by which stages mix sources, mean nothing here: a foundation sees every medium of every manifest.
    """
    sources = sources_of(data, AT_START)
    if all(source.toybox for source in sources):
        return ToyboxWorld()
    if all(source.things for source in sources):
        return ThingsWorld()
    if any(source.toybox or source.things for source in sources):
        raise RecipeError("data: foundations learn from Toybox, from the world of things or from manifests: from one")
    try:
        return ManifestWorld([Path(source.path) for source in sources])
    except FormatError as error:
        raise RecipeError(str(error)) from error


__all__ = ["ENDLESS", "ManifestWorld", "MediaStream", "ThingsWorld", "ToyboxWorld", "World", "open_world"]
