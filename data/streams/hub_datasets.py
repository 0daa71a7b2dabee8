"""Hugging Face ``datasets`` as conversations: rows with ``messages`` and ``media``, or a medium and its caption."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.formats.captions import captioned, check_task
from data.manifest import BadRecord, FormatError, Record, check_record
from data.modalities import MODALITIES
from data.records import ParsedRecord, parse_records
from data.streams.shards import with_contents
from data.text_files import parse_json


class DatasetRecords:
    """The records of a streamed ``datasets.IterableDataset``, file by file; its position can be saved and restored.

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
        self._reading: Any = None  # the file that it is in, as a dataset of its own
        self._loaded: Any = None  # the state that was loaded into it, as long as no row of it was read since

    @classmethod
    def open(cls, path: str, *, split: str = "train", **options: Any) -> DatasetRecords:
        """A folder of ``save_to_disk``, a folder of files (parquet, arrow, JSON lines), or a name on the hub.

        FormatError where there is none. A name on the hub is fetched by ``datasets`` itself.
        """
        import datasets

        try:
            folder = Path(path) / split if (Path(path) / "dataset_dict.json").is_file() else Path(path)
            if (folder / "state.json").is_file():
                files = parse_json((folder / "state.json").read_bytes())["_data_files"]
                stored: Any = datasets.load_from_disk(str(folder))
                dataset = stored.to_iterable_dataset(num_shards=len(files))
            else:
                dataset = datasets.load_dataset(path, split=split, streaming=True)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise FormatError(f"{path} holds no dataset of split {split!r}: {error}") from error
        for column in (options.get("columns") or {}).values():
            feature = (dataset.features or {}).get(column)
            if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
                dataset = dataset.cast_column(column, type(feature)(decode=False))  # decoded by data.media
        return cls(dataset, path, **options)

    def __iter__(self) -> Iterator[ParsedRecord]:
        """The rest of this pass; the next iteration starts the next one, its files in another order.

        Rows of a file keep their order: a shuffling buffer of ``datasets`` would not resume exactly.
        """
        while self.file < self.dataset.num_shards:
            number = self._file_number()
            if self._reading is None:
                self._reading = self.dataset.shard(num_shards=self.dataset.num_shards, index=number)
            for row in self._rows(number):
                self.row, self._loaded = self.row + 1, None
                yield from parse_records([(f"{self.name}, file {number}, row {self.row}", row)], self._record)
            self.file, self.row, self._reading = self.file + 1, 0, None
        self.epoch, self.file = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """The position: completed passes, files of this one, rows of the file, and the dataset's own state."""
        own = self._loaded or (self._reading.state_dict() if self.row else None)
        return {"epoch": self.epoch, "file": self.file, "row": self.row, "dataset": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.epoch, self.file, self.row, self._reading = state["epoch"], state["file"], state["row"], None
        self._loaded = copy.deepcopy(state["dataset"])
        if state["dataset"] is not None:
            self._reading = self.dataset.shard(num_shards=self.dataset.num_shards, index=self._file_number())
            self._reading.load_state_dict(state["dataset"])

    def _rows(self, number: int) -> Iterator[dict[str, Any]]:
        """The rows of the present file. FormatError where ``datasets`` cannot go on, whatever its readers raise."""
        rows = iter(self._reading)
        while True:
            try:
                row = next(rows, None)
            except Exception as error:
                raise FormatError(f"{self.name}, file {number}, after row {self.row}: {error}") from error
            if row is None:
                return
            yield row

    def _file_number(self) -> int:
        """Which file of the dataset is the present one of this pass."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.dataset.num_shards)
        return int(order[self.file])

    def _record(self, row: dict[str, Any]) -> Record:
        if not self.columns:
            return _conversation(row)
        modality = next(key for key in self.columns if key != "caption")
        caption = row.get(self.columns["caption"])
        if not isinstance(caption, str):
            raise BadRecord(f"the caption must be text, not {caption!r}")
        name, content = _file(row.get(self.columns[modality]), modality)
        return with_contents(captioned(modality, name, caption, self.task, {}), {name: content})


def _conversation(row: dict[str, Any]) -> Record:
    """The record in the columns ``messages``, ``media`` and, where there is one, ``meta``."""
    messages, meta = _parsed(row.get("messages")), _parsed(row.get("meta")) or {}
    record = check_record({"messages": messages, "meta": meta}, None)
    return with_contents(record, dict(_file(item, "medium") for item in row.get("media") or []))


def _parsed(value: Any) -> Any:
    """A cell that is JSON text or nested columns."""
    return parse_json(value) if isinstance(value, str) else _filled(value)


def _filled(value: Any) -> Any:
    """``value`` without the empty keys: Arrow gives every item of a list the keys of all."""
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
