"""Hugging Face ``datasets`` as conversations: rows with ``messages`` and ``media``, or a medium and its caption."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data.formats.captions import captioned, check_task
from data.manifest import MEDIA, FormatError, Record, read_line
from data.records import BadRecord, Located
from data.shards import with_contents


class DatasetRecords:
    """The records of a streamed ``datasets.IterableDataset``; where it is can be stored and taken up.

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
        media = [key for key in self.columns if key in MEDIA]
        if self.columns and (len(media) != 1 or set(self.columns) != {*media, "caption"}):
            raise ValueError(f"columns {self.columns}: expected one of {', '.join(MEDIA)}, and caption")
        self.dataset = dataset.shuffle(seed=seed, buffer_size=1)  # the order of its files; a buffer would not resume
        self._beginning = self.dataset.state_dict()
        self.epoch = self.row = 0

    @classmethod
    def open(cls, path: str, *, split: str = "train", **options: Any) -> DatasetRecords:
        """A folder of ``save_to_disk``, a folder of files (parquet, arrow, JSON lines), or a name on the hub.

        FormatError where there is none. A name on the hub is fetched by ``datasets`` itself.
        """
        import datasets

        try:
            if (Path(path) / "state.json").is_file():
                files = json.loads((Path(path) / "state.json").read_text(encoding="utf-8"))["_data_files"]
                dataset = datasets.load_from_disk(path).to_iterable_dataset(num_shards=len(files))
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
        """The rest of this pass; after it the next begins."""
        self.dataset.set_epoch(self.epoch)
        for row in self.dataset:
            self.row += 1
            yield self._located(row, f"{self.name}, pass {self.epoch}, row {self.row}")
        self.epoch, self.row = self.epoch + 1, 0
        self.dataset.load_state_dict(self._beginning)

    def state_dict(self) -> dict[str, Any]:
        """Where it is: passes that are over, rows of this one, and the data set's own state."""
        return {"epoch": self.epoch, "row": self.row, "dataset": self.dataset.state_dict() if self.row else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.epoch, self.row = state["epoch"], state["row"]
        self.dataset.set_epoch(self.epoch)
        self.dataset.load_state_dict(state["dataset"] if state["dataset"] is not None else self._beginning)

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
