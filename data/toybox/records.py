"""Scenes as an ordinary dataset: media files, and a manifest whose ``meta`` holds the ground truth."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.atomic import atomic_folder, check_new_folder
from data.manifest import write_manifest
from data.media.loading import Medium
from data.media.saving import save_medium
from data.modalities import get_modality
from data.toybox.language.grammar import phrase, tag_caption
from data.toybox.rendering import render
from data.toybox.world import MODALITIES, sample, visible

#: Sides of images and videos that can be asked for, in pixels.
SMALLEST, LARGEST = 16, 2048
_REQUESTS = {"image": "Draw {}, please.", "video": "Film {}, please.", "audio": "Let me hear {}, please."}


def write_toybox(
    out: Path, count: int, seed: int = 0, modalities: Sequence[str] = MODALITIES, size: int | None = None
) -> Path:
    """Writes scenes 0 to ``count - 1`` of the stream ``seed`` to the folder ``out``; returns its manifest's path.

    Each scene is one conversation in which every modality comes once: shown by the user and described, or asked for and
    given, in turn. ``meta`` holds every attribute of the scene, its ``seed`` and ``index``. The folder is written
    atomically. ``size`` is the side of images and videos in pixels, None = the renderers' own. ValueError for a count
    below 1, an unknown modality, a size out of range, or a folder that holds something.
    """
    out = Path(out)
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown or not modalities or len(set(modalities)) < len(modalities):
        raise ValueError(f"unknown or repeated modality in {','.join(modalities)!r}: known are {', '.join(MODALITIES)}")
    if count < 1 or seed < 0:
        raise ValueError(f"count must be at least 1 and seed at least 0, not {count} and {seed}")
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size must be from {SMALLEST} to {LARGEST} pixels, not {size}")
    check_new_folder(out)
    with atomic_folder(out) as folder:
        for modality in modalities:
            (folder / modality).mkdir()
        records = (_record(seed, index, modalities, folder, size) for index in range(count))
        write_manifest(folder / "manifest.jsonl", tqdm(records, total=count, unit="scene"))
    return out / "manifest.jsonl"


def _record(seed: int, index: int, modalities: Sequence[str], folder: Path, size: int | None) -> dict[str, Any]:
    """A conversation about a scene. A medium is shown and described, or asked for and given, in turn."""
    scene = sample(seed, index)
    messages = []
    for position, modality in enumerate(modalities):
        entry = get_modality(modality)
        path = folder / modality / f"{index:06}{entry.suffix}"
        save_medium(Medium(modality, render(scene, modality, size), entry.rate), path)
        shown = modality not in _REQUESTS or (index + position) % 2 == 0
        attributes = visible(scene, modality)
        words = phrase(attributes, modality)
        medium = {"type": modality, "path": str(path)}
        if shown:
            user, assistant = [medium, _text("What is this?")], [_text(f"This is {words}.")]
        else:  # the caption is what the medium's decoder understands
            user = [_text(_REQUESTS[modality].format(words))]
            assistant = [_text("Here you are."), medium | {"caption": tag_caption(attributes)}]
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": messages, "meta": {**asdict(scene), "seed": seed, "index": index}}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
