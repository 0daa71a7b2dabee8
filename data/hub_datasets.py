"""Hugging Face ``datasets`` as conversations: rows with ``messages`` and ``media``, or a medium and its caption."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.formats.captions import captioned, check_task
from data.manifest import FormatError, Record, read_line
from data.modalities import MODALITIES
from data.records import BadRecord, Located
from data.shards import with_contents


class DatasetRecords:
    """The records of a streamed ``datasets.IterableDataset``, file by file; where it is can be stored and taken up.

    Args:
        dataset: rows ``messages`` (those of a manifest, as a list or as JSON) and ``media`` (a list of ``{"path",
            "bytes"}``); or, with ``columns``, a medium and its caption.
        name: what its rows are called for people.
        columns: ``{"image": "picture", "caption": "text"}``: modality to column, and the column of captions.
        task: what captions are for, see data.formats.captions.
    """

    def __init__(
        self, dataset: Any, name: str, *, columns: Mapping[str, str] | None = None, seed: int = 0, task: str = "tell"
    ) -> None:
        self.columns, self.task, self.name = dict(columns or {}), check_task(task), name
        media = [key for key in self.columns if key in MODALITIES]
        if self.columns and (len(media) != 1 or set(self.columns) != {*media, "caption"}):
            raise ValueError(f"columns {self.columns}: expected one of {', '.join(MODALITIES)}, and caption")
        self.dataset, self.seed = dataset, seed
        self.epoch = self.file = self.row = 0
        self._reading: Any = None  # the file that it is in, as a data set of its own

    @classmethod
    def open(cls, path: str, *, split: str = "train", **options: Any) -> DatasetRecords:
        """A folder of ``save_to_disk``, a folder of files (parquet, arrow, JSON lines), or a name on the hub.

        FormatError where there is none. A name on the hub is fetched by ``datasets`` itself.
        """
        import datasets

        try:
            folder = Path(path) / split if (Path(path) / "dataset_dict.json").is_file() else Path(path)
            if (folder / "state.json").is_file():
                files = json.loads((folder / "state.json").read_text(encoding="utf-8"))["_data_files"]
                stored: Any = datasets.load_from_disk(str(folder))
                dataset = stored.to_iterable_dataset(num_shards=len(files))
            else:
                dataset = datasets.load_dataset(path, split=split, streaming=True)
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} holds no data set of split {split!r}: {error}") from error
        for column in (options.get("columns") or {}).values():
            feature = (dataset.features or {}).get(column)
            if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
                dataset = dataset.cast_column(column, type(feature)(decode=False))  # decoded through our own door
        return cls(dataset, path, **options)

    def __iter__(self) -> Iterator[Located]:
        """The rest of this pass; after it the next begins, its files in another order.

        Rows of a file keep their order: a shuffling buffer of ``datasets`` would not resume exactly.
        """
        count = self.dataset.num_shards
        order = np.random.default_rng((self.seed, self.epoch)).permutation(count)
        while self.file < count:
            number = int(order[self.file])
            if self._reading is None:
                self._reading = self.dataset.shard(num_shards=count, index=number)
            for row in self._reading:
                self.row += 1
                yield self._located(row, f"{self.name}, file {number}, row {self.row}")
            self.file, self.row, self._reading = self.file + 1, 0, None
        self.epoch, self.file = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Where it is: passes that are over, files of this one, rows of the file, and the data set's own state."""
        own = self._reading.state_dict() if self.row else None
        return {"epoch": self.epoch, "file": self.file, "row": self.row, "dataset": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.epoch, self.file, self.row, self._reading = state["epoch"], state["file"], state["row"], None
        if state["dataset"] is not None:
            count = self.dataset.num_shards
            order = np.random.default_rng((self.seed, self.epoch)).permutation(count)
            self._reading = self.dataset.shard(num_shards=count, index=int(order[self.file]))
            self._reading.load_state_dict(state["dataset"])

    def _located(self, row: dict[str, Any], where: str) -> Located:
        try:
            return Located(where, self._captioned(row) if self.columns else _conversation(row, where))
        except BadRecord as error:
            return Located(where, problem=str(error))
        except FormatError as error:
            return Located(where, problem=str(error).removeprefix(f"{where}: "))

    def _captioned(self, row: dict[str, Any]) -> Record:
        modality = next(key for key in self.columns if key != "caption")
        caption = row.get(self.columns["caption"])
        if not isinstance(caption, str):
            raise BadRecord(f"the caption must be text, not {caption!r}")
        name, content = _file(row.get(self.columns[modality]), modality)
        return with_contents(captioned(modality, name, caption, self.task, {}), {name: content})


def _conversation(row: dict[str, Any], where: str) -> Record:
    """The record in the columns ``messages``, ``media`` and, where there is one, ``meta``."""
    messages = row.get("messages")
    if isinstance(messages, str):
        messages = json.loads(messages)
    meta = row.get("meta")
    meta = json.loads(meta) if isinstance(meta, str) else _filled(meta) if meta else {}
    record = read_line(json.dumps({"messages": _filled(messages), "meta": meta}), None, where)
    return with_contents(record, dict(_file(item, "medium") for item in row.get("media") or []))


def _filled(value: Any) -> Any:
    """Arrow gives every part of a list every key: those that are empty are left out."""
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def _file(value: Any, what: str) -> tuple[str, bytes]:
    """Name and bytes of a medium in a row."""
    if isinstance(value, bytes):
        return what, value
    if not isinstance(value, dict) or not isinstance(value.get("bytes"), bytes):
        raise BadRecord(f"the {what} must be bytes, or path and bytes, not {type(value).__name__}")
    return value.get("path") or what, value["bytes"]
