"""The folder of a run as a model folder: what the run has written, with links to the parts that it has left alone."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from nextgpt_lite.checkpoint import MANIFEST, component_names, kept_settings, read_manifest, write_manifest

#: What later stages read that is no component of a finished model.
FOR_TRAINING = ("text_encoders",)


def share_components(model: Path, folder: Path, core: str | None, without: Collection[str] = ()) -> None:
    """Link into ``folder`` every part of the model that it has none of its own of, but for those ``without`` which it
    is to be, and describe it in a manifest."""
    for name in (*component_names(), *FOR_TRAINING) if folder.resolve() != model.resolve() else ():
        own, given = folder / name, model / name
        if own.is_symlink():  # of an earlier run in this folder, perhaps on another model
            own.unlink()
        if name not in ("core", *without) and given.is_dir() and not own.exists():
            own.symlink_to(given.resolve(), target_is_directory=True)
    known = read_manifest(model) if (model / MANIFEST).is_file() else {}
    with suppress(FileNotFoundError):  # another run of a build is replacing a component
        write_manifest(folder, known.get("name", model.resolve().name), core=core or "core", **kept_settings(known))
