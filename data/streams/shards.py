"""Conversations in tar archives, as webdataset keeps them: a sample is the consecutive files of one key.

A sample is a record of a manifest (``KEY.json`` with ``messages``, whose media paths name files of the sample), or a
medium with a caption (``KEY.txt``, or ``caption`` in ``KEY.json``, as img2dataset writes it). The key of a file is its
path up to the first dot of its name.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from data.atomic import atomic_folder, check_new_folder
from data.formats.captions import captioned, check_task
from data.manifest import BadRecord, FormatError, Record, check_record, media_parts, read_manifest, replace_paths
from data.modalities import modality_of_name
from data.records import ParsedRecord, parse_records
from data.text_files import decode_text, parse_json


class Member(NamedTuple):
    """A file of an archive, and where its bytes are."""

    name: str
    start: int
    size: int

    @property
    def key(self) -> str:
        path = PurePosixPath(self.name)
        return str(path.parent / path.name.partition(".")[0])


class Shards:
    """The records of tar archives, in a new order for each pass; its position can be saved and restored.

    Media parts carry their bytes as ``content`` beside the name ``path``. Several processes share the archives: each is
    one ``reader`` of ``readers``. Each pass has the archives, and the samples of an archive, in another order, by
    ``seed``. FormatError for archives that cannot be read, ValueError for fewer than readers.
    """

    def __init__(
        self, paths: Sequence[Path], *, seed: int = 0, reader: int = 0, readers: int = 1, task: str = "tell"
    ) -> None:
        if not 0 <= reader < readers:
            raise ValueError(f"reader {reader} of {readers}: expected 0 to {readers - 1}")
        if len(paths) < readers:
            raise ValueError(f"{len(paths)} archives cannot be shared among {readers} readers: expected as many")
        self.paths = sorted(paths)[reader::readers]
        self.seed, self.task = seed, check_task(task)
        self.epoch = self.shard = self.sample = 0

    def __iter__(self) -> Iterator[ParsedRecord]:
        """The rest of this pass; the next iteration starts the next pass."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.paths))
        while self.shard < len(order):
            number = int(order[self.shard])
            samples = samples_of(self.paths[number])
            inside = np.random.default_rng((self.seed, self.epoch, number)).permutation(len(samples))
            while self.sample < len(samples):
                members = samples[int(inside[self.sample])]
                self.sample += 1
                yield from read_sample(self.paths[number], members, self.task)
            self.shard, self.sample = self.shard + 1, 0
        self.epoch, self.shard = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """The position: completed passes, archives of this one, samples of the archive."""
        return {"epoch": self.epoch, "shard": self.shard, "sample": self.sample}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.epoch, self.shard, self.sample = state["epoch"], state["shard"], state["sample"]


@lru_cache(maxsize=8)
def samples_of(path: Path) -> tuple[tuple[Member, ...], ...]:
    """The samples of an archive, by its headers alone."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = [Member(m.name, m.offset_data, m.size) for m in archive if m.isfile()]
            end = archive.offset
        with path.open("rb") as file:  # tarfile takes a damaged header for the end of the archive
            file.seek(end)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged at byte {end:,}, after {len(members)} files")
    except (OSError, ValueError, tarfile.TarError) as error:
        raise FormatError(f"{path} is no tar archive that can be read (uncompressed): {error}") from error
    return tuple(tuple(group) for _, group in groupby(members, key=lambda member: member.key))


def read_sample(path: Path, members: Sequence[Member], task: str = "tell") -> Iterator[ParsedRecord]:
    """The one record of a sample, or what is wrong with it."""
    files = {}
    with path.open("rb") as archive:
        for member in members:
            archive.seek(member.start)
            files[member.name] = archive.read(member.size)
    return parse_records([(f"{path}, sample {members[0].key}", files)], lambda files: record_of_files(files, task))


def record_of_files(files: dict[str, bytes], task: str) -> Record:
    """The record of a sample's files. BadRecord where they are none."""
    metadata = _metadata(files)
    if "messages" in metadata:
        return with_contents(check_record(metadata, None), files)
    texts = [decode_text(content) for name, content in files.items() if name.endswith(".txt")]
    caption = texts[0] if texts else metadata.get("caption")
    media = [(name, modality) for name in files if (modality := modality_of_name(name)) is not None]
    if len(media) != 1 or not isinstance(caption, str):
        raise BadRecord(f"expected messages, or one medium and its caption, not {', '.join(sorted(files))}")
    [(name, modality)] = media
    return with_contents(captioned(modality, name, caption, task, {}), files)


def with_contents(record: Record, files: dict[str, bytes]) -> Record:
    """A record whose media parts carry the bytes of their files, found by name or by what follows the key."""
    endings = {PurePosixPath(name).name.partition(".")[2]: name for name in files}
    for part in media_parts(record):
        name = part["path"] if part["path"] in files else endings.get(part["path"])
        if name is None:
            raise BadRecord(f"there is no file {part['path']!r} in the sample")
        part["content"], part["path"] = files[name], name
    return record


def _metadata(files: dict[str, bytes]) -> dict[str, Any]:
    """The object in the first JSON file of a sample, empty where there is none."""
    value = next((parse_json(content) for name, content in files.items() if name.endswith(".json")), {})
    return value if isinstance(value, dict) else {}


def write_shards(manifest: Path, out: Path, per_shard: int = 1000) -> list[Path]:
    """Pack the records of a manifest and their media into archives of ``per_shard`` samples in the new folder ``out``.

    Written atomically. FormatError at the first record that is wrong, ValueError for a folder that holds something.
    """
    check_new_folder(out)
    paths = []
    with atomic_folder(out) as temporary:
        for number, group in groupby(enumerate(read_manifest(manifest)), key=lambda one: one[0] // per_shard):
            paths.append(out / f"shard-{number:06}.tar")
            with tarfile.open(temporary / paths[-1].name, "w") as archive:
                for index, record in group:
                    _write_sample(archive, f"{index:09}", record)
    return paths


def _write_sample(archive: tarfile.TarFile, key: str, record: Record) -> None:
    names: dict[str, str] = {}

    def add(part: dict[str, Any]) -> str:
        path = Path(part["path"])
        if part["path"] not in names:
            names[part["path"]] = f"{len(names)}{path.suffix}"
            _add(archive, f"{key}.{names[part['path']]}", path.read_bytes())
        return names[part["path"]]

    renamed = replace_paths(record, add)
    _add(archive, f"{key}.json", json.dumps(renamed, ensure_ascii=False).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
