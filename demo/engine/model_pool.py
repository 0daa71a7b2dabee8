"""The models that a page offers: each is loaded in the background when it is first chosen."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from safetensors import safe_open

from nextgpt_lite.checkpoint import EMBEDDED, MANIFEST, CheckpointError, read_manifest, resolve_model
from nextgpt_lite.config import CoreConfig

if TYPE_CHECKING:
    from demo.engine.engine import Engine
    from nextgpt_lite import AnyToAny


class ModelPool:
    """Engines by the name of their model.

    Args:
        models: names as the command line takes them, ``"nano"`` or folders; the first is loaded at once. Raises
            CheckpointError if one of them is no model.
        weights: "exact", or "int8" (nextgpt_lite.decoding), of all of them.
    """

    def __init__(self, models: Sequence[str], weights: str = "exact") -> None:
        self.weights = weights
        short = [short_name(model) for model in models]
        names = [name if short.count(name) == 1 else str(model) for name, model in zip(short, models, strict=True)]
        self.folders = {name: resolve_model(model) for name, model in zip(names, models, strict=True)}
        for folder in self.folders.values():
            read_manifest(folder)
        self._engines: dict[str, Future[Engine]] = {}
        self._threads, self._lock = ThreadPoolExecutor(), threading.Lock()
        self._start(self.first)

    @property
    def first(self) -> str:
        """The model that is used unless another is chosen."""
        return next(iter(self.folders))

    def engine(self, name: str | None = None) -> Engine:
        """The engine of a model, which may still be loading it. An unknown name is the first one's."""
        return self._start(self._known(name)).result()

    def ready(self, name: str | None = None) -> bool:
        """Whether a model is loaded."""
        engine = self._engines.get(self._known(name))
        return engine is not None and engine.done() and engine.exception() is None and engine.result().ready

    def output_modalities(self, name: str | None = None) -> tuple[str, ...]:
        """The media that a model answers with, from its core's configuration; it need not be loaded."""
        return _output_modalities(self.folders[self._known(name)])

    def describe(self, name: str) -> str:
        """Name, parameters and size on disk; of a loaded model, device and memory of this process too."""
        parameters, size = weigh(self.folders[name])
        count = f"{parameters / 1e6:.1f} M" if parameters < 1e9 else f"{parameters / 1e9:.1f} B"
        facts = [name, count, _bytes(size)]
        if self.ready(name):
            device = self.engine(name).model.result().device
            facts += [str(device), f"{'VRAM' if device.type == 'cuda' else 'RAM'} {_bytes(memory(device.type))}"]
        return " · ".join(facts)

    def wait(self) -> None:
        """Wait for the first model; an error of loading it is raised."""
        self.engine().model.result()

    def close(self) -> None:
        """Cancel all requests and end the engines."""
        for engine in self._engines.values():
            if engine.exception() is None:
                engine.result().close()
        self._threads.shutdown()

    def _known(self, name: str | None) -> str:
        return name if name in self.folders else self.first

    def _start(self, name: str) -> Future[Engine]:
        with self._lock:
            if name not in self._engines:
                self._engines[name] = self._threads.submit(_open_engine, self.folders[name], self.weights)
            return self._engines[name]


def _open_engine(folder: Path, weights: str) -> Engine:
    """Import what a model needs, start to load it, and warm it up, while the page is open already."""
    from demo.engine.engine import Engine

    engine = Engine(lambda: load(folder, weights=weights))
    engine.warm_up()
    return engine


def load(model: str | Path, **held: Any) -> AnyToAny:
    """A model by name or folder, loaded without the libraries' progress bars; ``held`` are from_pretrained's."""
    import diffusers
    import transformers

    from nextgpt_lite import AnyToAny
    from nextgpt_lite.any_to_any import set_num_threads

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    return set_num_threads(AnyToAny.from_pretrained(model, **held))


def models_in(folder: Path) -> list[str]:
    """The model folders in a folder, by name. CheckpointError if there is none."""
    found = sorted(str(path.parent) for path in folder.glob(f"*/{MANIFEST}"))
    if not found:
        raise CheckpointError(f"no model in {folder}: expected folders that hold a {MANIFEST}")
    return found


def short_name(model: str) -> str:
    """A model's name for clients and pages: "nano", or its folder's name."""
    return model if model in EMBEDDED else Path(model).resolve().name


@cache
def _output_modalities(folder: Path) -> tuple[str, ...]:
    core = read_manifest(folder)["components"].get("core")
    if core is None:
        raise CheckpointError(f"{folder} has no component 'core'")
    return CoreConfig.from_pretrained(folder / core["path"]).output_modalities


def weigh(folder: Path) -> tuple[int, int]:
    """Parameters and bytes of all weight files of a model folder, read from their headers."""
    files = list(folder.rglob("*.safetensors"))
    return sum(map(_parameters, files)), sum(file.stat().st_size for file in files)


def _parameters(file: Path) -> int:
    with safe_open(file, framework="numpy") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def memory(device: str) -> int:
    """Bytes in use: of the graphics card by this process, or of the machine by it."""
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated()
    return psutil.Process(os.getpid()).memory_info().rss


def _bytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
