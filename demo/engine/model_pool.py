"""The models that a page offers: each is loaded in the background when it is first chosen, and answers from then on."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nextgpt_lite.checkpoint import EMBEDDED, MANIFEST, CheckpointError, read_manifest, resolve_model

if TYPE_CHECKING:
    from demo.engine.engine import Engine
    from nextgpt_lite import AnyToAny


class Shelf:
    """Engines by the name of their model.

    Args:
        models: names as the command line takes them, ``"nano"`` or folders; the first is loaded at once. Raises
            CheckpointError where one of them is no model.
    """

    def __init__(self, models: Sequence[str]) -> None:
        short = [short_name(model) for model in models]
        names = [name if short.count(name) == 1 else str(model) for name, model in zip(short, models, strict=True)]
        self.folders = {name: resolve_model(model) for name, model in zip(names, models, strict=True)}
        for folder in self.folders.values():
            read_manifest(folder)
        self._engines: dict[str, Future[Engine]] = {}
        self._lock = threading.Lock()
        self._begin(self.first)

    @property
    def first(self) -> str:
        """The model that is used unless another is chosen."""
        return next(iter(self.folders))

    def engine(self, name: str | None = None) -> Engine:
        """The engine of a model, which may still be loading it. An unknown name is the first one's."""
        return self._begin(name if name in self.folders else self.first).result()

    def ready(self, name: str | None = None) -> bool:
        """Whether a model is loaded."""
        engine = self._engines.get(name if name in self.folders else self.first)
        return engine is not None and engine.done() and engine.exception() is None and engine.result().ready

    def describe(self, name: str) -> str:
        """Name, parameters, size on disk; of a model that is loaded, device and memory of this process too."""
        parameters, size = weigh(self.folders[name])
        told = [name, f"{parameters / 1e6:.1f} M" if parameters < 1e9 else f"{parameters / 1e9:.1f} B", _bytes(size)]
        if self.ready(name):
            device = self.engine(name).model.result().device
            told += [str(device), f"{_bytes(memory(device.type))} in memory"]
        return " · ".join(told)

    def wait(self) -> None:
        """Wait for the first model; what kept it from loading is raised."""
        self.engine().model.result()

    def close(self) -> None:
        """Cancel everything that is being made and let the engines go."""
        for engine in self._engines.values():
            if engine.exception() is None:
                engine.result().close()

    def _begin(self, name: str) -> Future[Engine]:
        with self._lock:
            if name not in self._engines:
                self._engines[name] = Future()
                folder = self.folders[name]
                threading.Thread(target=_open, args=(folder, self._engines[name]), daemon=True).start()
            return self._engines[name]


def _open(folder: Path, future: Future[Engine]) -> None:
    """Import what a model needs, begin to load it, and warm it up: all beside the page."""
    try:
        from demo.engine.engine import Engine

        engine = Engine(lambda: load(folder))
        future.set_result(engine)
    except BaseException as error:
        future.set_exception(error)
        return
    engine.warm_up()


def load(model: str | Path) -> AnyToAny:
    """A model by name or folder; the libraries' bars for each file say nothing to who opens a page."""
    import diffusers
    import transformers

    from nextgpt_lite import AnyToAny
    from nextgpt_lite.threads import set_num_threads

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    return set_num_threads(AnyToAny.from_pretrained(model))


def models_in(folder: Path) -> list[str]:
    """The model folders in a folder, by name. CheckpointError where there is none."""
    found = sorted(str(path.parent) for path in folder.glob(f"*/{MANIFEST}"))
    if not found:
        raise CheckpointError(f"no model in {folder}: expected folders with a {MANIFEST} in it")
    return found


def short_name(model: str) -> str:
    """What a model is called on the page: its folder's name."""
    return model if model in EMBEDDED else Path(model).resolve().name


def weigh(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of all weight files of a model folder, read off their headers."""
    files = list(folder.rglob("*.safetensors"))
    return sum(map(_parameters, files)), sum(file.stat().st_size for file in files)


def _parameters(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    return sum(_product(shape) for shape in shapes)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def memory(device: str) -> int:
    """Bytes in use: of the graphics card by this process, or of the machine."""
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated()
    return psutil.Process(os.getpid()).memory_info().rss


def _bytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
