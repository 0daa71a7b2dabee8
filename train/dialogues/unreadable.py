"""Media that turn out to be unreadable while training runs: noted, and their rows replaced."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.media.loading import MediaError
from data.records import REJECTED, BadRecords, TooManyBadRecords
from train.dialogues.embed import MediaEmbeddings
from train.dialogues.encode import Row
from train.dialogues.targets import TargetLatents
from train.settings import RecipeError


@dataclass
class UnreadableMedia:
    """Reads the media of each batch. ``candidates`` gives the rows that may replace one, itself first.

    Without ``read_in_steps`` all media have been read before training, and nothing is done here.
    """

    bad: BadRecords
    embeddings: MediaEmbeddings
    latents: TargetLatents
    candidates: Callable[[Row], Iterable[Row]]
    read_in_steps: bool

    def begin(self, run_dir: Path, resume: bool) -> None:
        """Write down what was left out; a run that is resumed keeps what it had found before."""
        path = run_dir / REJECTED
        if resume and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self.bad.add(entry["where"], entry["reason"])
        if os.environ.get("RANK", "0") == "0":  # the other processes only add what they find
            path.unlink(missing_ok=True)
            if self.bad.found:
                self.bad.write(path)
        self.bad.path = path

    def replace(self, rows: Sequence[Row], fits: Callable[[Row, Row], bool]) -> list[Row]:
        """Rows whose media can be read now; in place of one that cannot comes the next row that ``fits`` it.

        RecipeError when the limit of bad records is passed.
        """
        return [self._readable(row, fits) for row in rows] if self._begin_batch() else list(rows)

    def leave_out(self, rows: Sequence[Row]) -> list[Row]:
        """Those of the rows whose media can be read now; the others are noted."""
        return [row for row in rows if self._reads(row)] if self._begin_batch() else list(rows)

    def check(self) -> None:
        """RecipeError when there are more bad records than the recipe allows."""
        try:
            self.bad.check()
        except TooManyBadRecords as error:
            raise RecipeError(str(error)) from error

    def _readable(self, row: Row, fits: Callable[[Row, Row], bool]) -> Row:
        for candidate in self.candidates(row):
            if candidate.where in self.bad.found or (candidate is not row and not fits(row, candidate)):
                continue
            if self._reads(candidate):
                return candidate
            self.check()
        raise RecipeError(f"no record is left that could take the place of {row.where}")

    def _reads(self, row: Row) -> bool:
        """Whether all media that the row shows or makes can be read. What is read is kept for the batch."""
        try:
            for medium in row.media:
                self.embeddings[medium]
            for modality, targets in row.targets.items():
                self.latents.batch(modality, targets)
        except MediaError as error:
            self.bad.add(row.where, str(error))
            return False
        return True

    def _begin_batch(self) -> bool:
        """Whether media are read in steps; what was read for the batch before is dropped then."""
        if self.read_in_steps:
            self.embeddings.forget()
            self.latents.forget()
        return self.read_in_steps
