"""From the setting ``data`` to rows with embeddings and targets: checked before training, watched while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from adapters.rope_scaling import context_length
from data.media_intake import MediaError, check_format
from data.mixture import ListStream, Mixture
from data.records import POLICIES, REJECTED, BadRecords, Located, TooManyBadRecords
from nextgpt_lite.config import CoreConfig
from train.dialogues.bins import BinnedRows
from train.dialogues.embed import MediaTable, StepTable, open_stores
from train.dialogues.encode import DialogueRows, Row, encode_row, mixed
from train.dialogues.media import AT_START, IN_STEPS, FilePart, embedded
from train.dialogues.records import (
    Spoken,
    SpokenStream,
    manifest_dialogues,
    opened_stream,
    sources_of,
    toybox_dialogues,
)
from train.dialogues.streamed_bins import StreamedBins
from train.dialogues.targets import CaptionConditions, TargetLatents
from train.recipe import RecipeError

EVALUATION_SEED = 700


class Loader:
    """The dialogues of a stage. ``settings`` are those of the task, ``config`` is its core's.

    Records that cannot be used are in ``bad``: all of them that can be found before training are, and RecipeError
    says so where there are more than the recipe allows.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        config: CoreConfig,
        encoder: Any,
        tokenizer: PreTrainedTokenizerBase,
        decoders: dict[str, Any],
        kinds: list[str],
    ) -> None:
        if settings["bad_records"] not in POLICIES:
            raise RecipeError(f"bad_records must be one of {', '.join(POLICIES)}, not {settings['bad_records']!r}")
        if settings["misdrawn"] and settings["noise_weight"]:
            raise RecipeError("misdrawn must be 0 where noise_weight is not: what was misdrawn is nothing to aim at")
        self.settings, self.config, self.kinds = settings, config, kinds
        self.encoder, self.tokenizer = encoder, tokenizer
        self.sources = sources_of(settings["data"], settings["embeddings"])
        self.bad = BadRecords(settings["bad_records"], settings["bad_limit"])
        folders = [FilePart("", embedded=source.embeddings) for source in self.sources]
        self.stores = open_stores(folders, encoder, config.features)
        self.conditions = CaptionConditions(decoders, list(self.stores.values()))
        self.latents = TargetLatents(decoders if settings["noise_weight"] else {})

    def training(self) -> DialogueRows:
        """The rows to train on, mixed by weight. RecipeError where too many records cannot be used."""
        data = self._rows(self._spoken(held_out=False), self.bad)
        self._check_manifests()
        self._prepare(data, self.bad)
        self.bad.total = self.bad.seen
        self._check()
        groups = [[row for row in data.rows if row.source == source.told()] for source in self.sources]
        for source, rows in zip(self.sources, groups, strict=True):
            if not rows:
                raise RecipeError(f"{source.told()} in data holds no record that can be used")
        weights = [source.weight for source in self.sources if source.weight is not None]
        data.rows = mixed(groups, weights or None, self.settings["seed"])
        self._order = data.rows
        self._place = {id(row): number for number, row in enumerate(data.rows)}
        return data

    @property
    def streams(self) -> bool:
        """Whether the dialogues are read as streams while training runs."""
        return any(source.streamed for source in self.sources)

    def stream(self, binned: Callable[[list[Row]], BinnedRows]) -> StreamedBins:
        """Bins out of all sources, mixed by weight (equal where none is stated), their media embedded in steps."""
        chosen, lists = self.settings, []
        for number, source in enumerate(self.sources):
            seed = chosen["seed"] + number
            if source.streamed and source.embeddings not in (AT_START, IN_STEPS):
                raise RecipeError(f"{source.told()} is a stream, and embeddings are of a manifest: expected none")
            if source.streamed:
                lists.append(SpokenStream(opened_stream(source, seed), source))
            elif source.toybox:
                dialogues = self._toybox(chosen["seed"], chosen["dialogues"], chosen["misdrawn"])
                lists.append(ListStream(dialogues, seed))
            else:
                lists.append(ListStream(list(manifest_dialogues(source, False, chosen["seed"])), seed))
        self._check_manifests()
        mixture = Mixture(lists, [source.weight or 1.0 for source in self.sources], chosen["seed"])
        self._window = StreamedBins(mixture, self._encode_one, binned, self.bad, self._check, chosen["seed"])
        return self._window

    def _encode_one(self, spoken: Spoken) -> tuple[Row, list[Any]]:
        longest = context_length(self.config.text_config)
        return encode_row(spoken, self.tokenizer, self.config.table, self.encoder.modalities, longest)

    def held_out(self) -> DialogueRows:
        """Rows that training never saw, of every source. What breaks now is noted, and refused no more."""
        data = self._rows(self._spoken(held_out=True), self.bad)
        self._prepare(data, self.bad)
        return data

    def dialogues(self, spoken: Iterable[Spoken]) -> DialogueRows:
        """Any dialogues as rows; data.records.BadRecord for the first that cannot be used."""
        data = self._rows(spoken, None)
        self._prepare(data, self.bad)
        return data

    def describe(self) -> list[str]:
        """What the sources are, a line each."""
        if self.streams:
            return [f"{source.told()}: a stream, weight {source.weight or 1.0:g}" for source in self.sources]
        lines = []
        for source in self.sources:
            rows = sum(row.source == source.told() for row in self._order)
            where = "generated" if source.toybox else source.path
            lines.append(f"{source.told()}: {rows:,} dialogues ({where})")
        return [*lines, *([f"{len(self.bad.found):,} records left out"] if self.bad.found else [])]

    # -- while training runs ------------------------------------------------------------------------------------

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

    def usable(self, rows: Sequence[Row], table: Any, fits: Callable[[Row, Row], bool]) -> list[Row]:
        """Rows whose media can be read now; in place of one that cannot comes the next that ``fits`` it.

        RecipeError when the limit of bad records is passed.
        """
        if not self._reads_in_steps:
            return list(rows)
        self._forget(table)
        return [self._usable(row, table, fits) for row in rows]

    def readable(self, rows: Sequence[Row], table: Any) -> list[Row]:
        """Those of the rows whose media can be read now; the others are noted."""
        if not self._reads_in_steps:
            return list(rows)
        self._forget(table)
        problems = {row.where: self._problem(row, table) for row in rows}
        for where, problem in problems.items():
            if problem:
                self.bad.add(where, problem)
        return [row for row in rows if not problems[row.where]]

    @property
    def _reads_in_steps(self) -> bool:
        """Whether a medium may turn out to be broken while training runs: one that is shown, or one that is made."""
        if self.streams:
            return True
        later = {source.embeddings for source in self.sources} - {AT_START}
        return IN_STEPS in later or bool(later and self.latents.decoders)

    def _usable(self, row: Row, table: Any, fits: Callable[[Row, Row], bool]) -> Row:
        for candidate in self._from(row):
            if candidate.where in self.bad.found or (candidate is not row and not fits(row, candidate)):
                continue
            problem = self._problem(candidate, table)
            if not problem:
                return candidate
            self.bad.add(candidate.where, problem)
            self._check()
        raise RecipeError(f"no record is left that could take the place of {row.where}")

    def _problem(self, row: Row, table: Any) -> str:
        """Why a medium that the row shows or makes cannot be read; empty where all can. What is read is kept."""
        try:
            for number in row.media:
                table[number]
            for modality, made in row.made.items():
                self.latents.targets(modality, made)
        except MediaError as error:
            return str(error)
        return ""

    def _forget(self, table: Any) -> None:
        """Drop what was read for the batch before."""
        self.latents.forget()
        if isinstance(table, MediaTable | StepTable):
            table.forget()

    def _from(self, row: Row) -> Iterator[Row]:
        """The row and all that follow it, round to its beginning; of a stream, those of its window."""
        if self.streams:
            return chain([row], self._window.rows)
        start = self._place[id(row)]
        return chain(self._order[start:], self._order[:start])

    # -- before ---------------------------------------------------------------------------------------------------

    def _spoken(self, held_out: bool) -> Iterator[Spoken | Located]:
        chosen = self.settings
        for source in self.sources:
            if source.toybox:
                seed, count = (EVALUATION_SEED, "held_out") if held_out else (chosen["seed"], "dialogues")
                yield from self._toybox(seed, chosen[count], 0.0 if held_out else chosen["misdrawn"])
            else:
                yield from manifest_dialogues(source, held_out, chosen["seed"])

    def _toybox(self, seed: int, count: int, misdrawn: float) -> list[Spoken]:
        return list(toybox_dialogues(seed, count, self.kinds, self.encoder.modalities, misdrawn))

    def _check_manifests(self) -> None:
        """What evaluate() will read must be sound too, and known to be so before training."""
        spoken = chain.from_iterable(
            manifest_dialogues(source, True, self.settings["seed"]) for source in self.sources if not source.toybox
        )
        self._rows(spoken, self.bad)

    def _rows(self, spoken: Iterable[Spoken | Located], bad: BadRecords | None) -> DialogueRows:
        return DialogueRows(
            spoken,
            self.tokenizer,
            self.config.table,
            modalities=self.encoder.modalities,
            bad=bad,
            longest=context_length(self.config.text_config),
        )

    def _prepare(self, data: DialogueRows, bad: BadRecords) -> None:
        """Embeddings and targets of rows; rows whose media turn out to be broken are left out."""
        table = MediaTable(self.encoder, data.parts, self.config.features)
        broken = dict(table.broken)
        for number, part in enumerate(data.parts):
            if embedded(part) == IN_STEPS and isinstance(part, FilePart) and part.content is None:
                try:
                    check_format(part.path)
                except MediaError as error:
                    broken[number] = str(error)
        data.without(broken, bad)
        data.embeddings = table.made if len(table.place) == len(data.parts) else table
        kept = [row for row in data.rows if row.embedded != IN_STEPS]
        self.conditions.add({m: [c for row in kept for c in row.captions[m]] for m in self.conditions.decoders})
        made = {
            m: [part for row in kept for part in row.made[m] if embedded(part) == AT_START] for m in self.latents.known
        }
        unreadable = self.latents.add(made)
        for row in data.rows:
            found = [part for parts in row.made.values() for part in parts if part in unreadable]
            if found:
                bad.add(row.where, unreadable[found[0]])
        data.rows = [row for row in data.rows if row.where not in bad.found]

    def _check(self) -> None:
        try:
            self.bad.check()
        except TooManyBadRecords as error:
            raise RecipeError(str(error)) from error
