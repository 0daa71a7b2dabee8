"""The loader of a stage: records -> encode -> embed, for lists before training and for streams while it runs.

Media that turn out to be unreadable while training runs are noted, and their rows replaced.

Binning (:mod:`train.dialogues.bins`) and collation (:mod:`train.dialogues.collate`) follow.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from adapters.long_context import context_length
from data.media.loading import MediaError, check_format
from data.modalities import MODALITIES
from data.records import POLICIES, REJECTED, BadRecords, ParsedRecord, TooManyBadRecords
from data.streams.mixture import ListStream, Mixture
from nextgpt_lite.config import CoreConfig
from train.dialogues import records
from train.dialogues.bins import BinnedRows, StreamedBins
from train.dialogues.embed import MediaEmbeddings
from train.dialogues.encode import Row, RowEncoder
from train.dialogues.records import AT_START, IN_STEPS, MediaFile, Medium, embedded
from train.dialogues.simulated import class_names
from train.dialogues.targets import CaptionConditions, TargetLatents
from train.dialogues.things_records import things_conversations
from train.dialogues.tuned_encoder import PreprocessedMedia
from train.embeddings.store import EmbeddingStore
from train.settings import RecipeError, setting

#: A row -> the rows that may take its place, itself first.
Candidates = Callable[[Row], Iterable[Row]]


@dataclass
class UnreadableMedia:
    """Reads the media of each batch.

    Without ``read_in_steps`` all media have been read before training, and nothing is done here.
    """

    bad: BadRecords
    embeddings: MediaEmbeddings
    latents: TargetLatents
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

    def replace(self, rows: Sequence[Row], candidates: Candidates, fits: Callable[[Row, Row], bool]) -> list[Row]:
        """Rows whose media can be read now; in place of one that cannot comes the next candidate that ``fits`` it.

        RecipeError when the limit of bad records is passed.
        """
        return [self._readable(row, candidates, fits) for row in rows] if self._read(rows) else list(rows)

    def leave_out(self, rows: Sequence[Row]) -> list[Row]:
        """Those of the rows whose media can be read now; the others are noted."""
        return [row for row in rows if self._is_readable(row)] if self._read(rows) else list(rows)

    def check(self) -> None:
        """RecipeError when there are more bad records than the recipe allows."""
        try:
            self.bad.check()
        except TooManyBadRecords as error:
            raise RecipeError(str(error)) from error

    def _readable(self, row: Row, candidates: Candidates, fits: Callable[[Row, Row], bool]) -> Row:
        for candidate in candidates(row):
            if candidate.where in self.bad.found or (candidate is not row and not fits(row, candidate)):
                continue
            if self._is_readable(candidate):
                return candidate
            self.check()
        raise RecipeError(f"no record is left that could take the place of {row.where}")

    def _is_readable(self, row: Row) -> bool:
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

    def _read(self, rows: Sequence[Row]) -> bool:
        """Read what a batch of these rows needs, all at once. Whether media are read in steps."""
        if self.read_in_steps:
            self.embeddings.read(medium for row in rows for medium in row.media)
            targets: dict[str, list[Medium]] = defaultdict(list)
            for row in rows:
                for modality, own in row.targets.items():
                    targets[modality] += own
            self.latents.read(targets)
        return self.read_in_steps


EVALUATION_SEED = 700


@dataclass(frozen=True)
class DataSettings:
    """The settings of a stage that concern its data."""

    seed: int = setting(21, low=0)
    dialogues: int = setting(20_000, low=1, help="of each generated world")
    described: bool = setting(False, help="what media of things show stands in the text, as from experts")
    mismatched_media: float = setting(0.0, low=0, high=1, alias="misdrawn", help="share of edits that do not fit")
    modalities: list[str] = setting([], choices=MODALITIES, help="that users show in dialogues of worlds; none = all")
    held_out: int = setting(400, low=0, help="dialogues of evaluate(), of worlds; of a manifest see its entry of data")
    data: list[str | dict[str, Any]] | dict[str, Any] | str = setting([], help="see train.dialogues.records")
    embeddings: str = setting(AT_START, help='when media are embedded: "start", "steps", or a folder that has them')
    bad_records: str = setting("refuse", choices=POLICIES, help="records that cannot be used: none, or up to bad_limit")
    bad_limit: float = setting(0.01, low=0, high=1, help="share of all records")
    noise_weight: float = setting(0.0, low=0, help="of the decoders' own loss; above 0 needs whole decoders")
    tune_encoder: str = setting("", choices=("", "full", "lora"), help="train the encoder too, whole or by LoRA")

    def __post_init__(self) -> None:
        if self.tune_encoder and self.embeddings not in (AT_START, IN_STEPS):
            raise RecipeError(f"embeddings must be {IN_STEPS!r} where tune_encoder is set, not {self.embeddings!r}")
        if self.mismatched_media and self.noise_weight:
            raise RecipeError("mismatched_media must be 0 where noise_weight is not: mismatched media are no targets")


class DialogueLoader:
    """The rows of a stage, with embeddings of their media and targets of their signal tokens.

    ``kinds`` are those of Toybox's dialogues, taken in turn; none = all, by their own weights.

    Records that cannot be used are in ``bad``: all that can be found before training are, and RecipeError says so where
    there are more than the recipe allows.
    """

    def __init__(
        self,
        settings: DataSettings,
        config: CoreConfig,
        encoder: Any,
        tokenizer: PreTrainedTokenizerBase,
        decoders: dict[str, Any],
        kinds: Sequence[str],
    ) -> None:
        self.settings, self.kinds = settings, kinds
        tuned = bool(settings.tune_encoder)
        self.sources = records.sources_of(settings.data, IN_STEPS if tuned else settings.embeddings)
        self.bad = BadRecords(settings.bad_records, settings.bad_limit)
        longest = context_length(config.text_config)
        self.encoder = RowEncoder(tokenizer, config.table, encoder.modalities, longest)
        folders = {source.embeddings for source in self.sources} - {AT_START, IN_STEPS}
        if tuned and (wrong := [*sorted(folders), *(each.label for each in self.sources if each.things)]):
            raise RecipeError(f"tune_encoder must be empty with {wrong[0]}: its media are not read in steps")
        stores = {folder: EmbeddingStore(Path(folder)) for folder in sorted(folders)}
        for store in stores.values():
            store.check_encoder(encoder, config.features)
        kind = PreprocessedMedia if tuned else MediaEmbeddings
        self.embeddings = kind(encoder, config.features, stores)
        self.conditions = CaptionConditions(decoders, list(stores.values()))
        self.latents = TargetLatents(decoders if settings.noise_weight else {})
        later = {source.embeddings for source in self.sources} - {AT_START}
        in_steps = self.streams or tuned or IN_STEPS in later or bool(later and self.latents.decoders)
        self.unreadable = UnreadableMedia(self.bad, self.embeddings, self.latents, in_steps)
        self._order: list[Row] = []
        self._window: StreamedBins | None = None

    @property
    def streams(self) -> bool:
        """Whether the dialogues are read as streams while training runs."""
        return any(source.is_stream for source in self.sources)

    def training(self) -> list[Row]:
        """The rows to train on, mixed by weight. RecipeError where too many records cannot be used."""
        rows = list(self.encoded())
        self._check_held_out()
        rows = self.prepare(rows)
        self.bad.total = self.bad.seen
        self.unreadable.check()
        groups = [[row for row in rows if row.source == source.label] for source in self.sources]
        for source, group in zip(self.sources, groups, strict=True):
            if not group:
                raise RecipeError(f"{source.label} in data holds no record that can be used")
        weights = [source.weight for source in self.sources if source.weight is not None]
        self._order = mixed(groups, weights or None, self.settings.seed)
        self._place = {row: number for number, row in enumerate(self._order)}
        return self._order

    def encoded(self) -> Iterator[Row]:
        """The rows of all sources as they are read, before anything is embedded."""
        found = chain.from_iterable(self._conversations(source, False) for source in self.sources)
        return self.encoder.rows(found, self.bad)

    def stream(self, binned: Callable[[list[Row]], BinnedRows]) -> StreamedBins:
        """Bins out of all sources, mixed by weight (equal where none is stated), their media embedded in steps."""
        streams = [self._stream(source, self.settings.seed + n) for n, source in enumerate(self.sources)]
        self._check_held_out()
        mixture = Mixture(streams, [source.weight or 1.0 for source in self.sources], self.settings.seed)
        found = (records.conversation_of(one, self.sources[number]) for number, one in mixture)
        rows = self.encoder.rows(found, self.bad, self.unreadable.check)
        self._window = StreamedBins(mixture, rows, binned, self.bad, self.settings.seed)
        return self._window

    def held_out(self) -> list[Row]:
        """Rows that training never saw, of every source. Media that break now are noted, and no error."""
        found = chain.from_iterable(self._conversations(source, True) for source in self.sources)
        return self.prepare(self.encoder.rows(found, self.bad))

    def prepare(self, rows: Iterable[Row]) -> list[Row]:
        """Compute what is computed before training: embeddings, conditions, latents. Returns the rows that can be used;
        those with a medium that cannot be read are noted."""
        rows = list(rows)
        media = list(dict.fromkeys(medium for row in rows for medium in row.media))
        broken = self.embeddings.prepare(media)
        broken |= {medium: problem for medium in media if (problem := _wrong_format(medium))}
        rows = self._without(broken, rows, lambda row: row.media)
        now = [row for row in rows if not any(embedded(target) == IN_STEPS for target in _targets(row))]
        for modality in self.conditions.decoders:
            self.conditions.prepare(modality, [caption for row in now for caption in row.captions[modality]])
        unreadable: dict[Medium, str] = {}
        for modality in self.latents.decoders:
            targets = [target for row in now for target in row.targets[modality] if embedded(target) == AT_START]
            unreadable |= self.latents.prepare(modality, targets)
        return self._without(unreadable, rows, _targets)

    def describe(self) -> list[str]:
        """The sources, a line each."""
        if self.streams:
            return [f"{source.label}: a stream, weight {source.weight or 1.0:g}" for source in self.sources]
        counts = Counter(row.source for row in self._order)
        where = {source.label: "generated" if source.generated else source.path for source in self.sources}
        lines = [f"{label}: {counts[label]:,} dialogues ({place})" for label, place in where.items()]
        return [*lines, *([f"{len(self.bad.found):,} records left out"] if self.bad.found else [])]

    def candidates(self) -> Candidates:
        """A row -> itself and all that follow it, round to its beginning; of a stream, those of the present window."""
        if self._window is not None:
            rows = self._window.rows
            return lambda row: chain([row], rows)
        return lambda row: chain(self._order[self._place[row] :], self._order[: self._place[row]])

    def _conversations(self, source: records.Source, held_out: bool) -> Iterator[records.Conversation | ParsedRecord]:
        chosen = self.settings
        if not source.generated:
            return records.manifest_conversations(source, held_out, chosen.seed)
        shown = [name for name in self.encoder.modalities if name in (chosen.modalities or self.encoder.modalities)]
        seed, count, mismatched = chosen.seed, chosen.dialogues, chosen.mismatched_media
        if held_out:
            seed, count, mismatched = EVALUATION_SEED, chosen.held_out, 0.0
        if source.things:
            classes = class_names(self.embeddings.encoder)
            return things_conversations(seed, count, source.kinds, shown, classes, chosen.described, label=source.label)
        return records.toybox_conversations(seed, count, self.kinds, shown, mismatched)

    def _stream(self, source: records.Source, seed: int) -> Any:
        if not source.is_stream:
            return ListStream(list(self._conversations(source, False)), seed)
        if source.embeddings not in (AT_START, IN_STEPS):
            raise RecipeError(f"{source.label} is a stream, and embeddings are of a manifest: expected none")
        return records.open_stream(source, seed)

    def _check_held_out(self) -> None:
        """Count bad records among those of evaluate() too, before training. RecipeError where training has them."""
        for source in self.sources:
            records.check_apart(source)
        found = (self._conversations(source, True) for source in self.sources if not source.generated)
        for _ in self.encoder.rows(chain.from_iterable(found), self.bad):
            pass

    def _without(
        self, broken: dict[Medium, str], rows: list[Row], media: Callable[[Row], Iterable[Medium]]
    ) -> list[Row]:
        """The rows without those that have one of the ``broken`` media, which are noted."""
        for row in rows if broken else ():
            if reason := next((broken[medium] for medium in media(row) if medium in broken), ""):
                self.bad.add(row.where, reason)
        return [row for row in rows if row.where not in self.bad.found]


def _targets(row: Row) -> list[Medium]:
    return [target for targets in row.targets.values() for target in targets]


def _wrong_format(medium: Medium) -> str:
    """Why a file that is embedded in steps cannot be read, judged by its beginning; empty where it can."""
    if isinstance(medium, MediaFile) and medium.embedded == IN_STEPS and medium.content is None:
        try:
            check_format(medium.path)
        except MediaError as error:
            return str(error)
    return ""


def mixed(groups: Sequence[Sequence[Any]], weights: Sequence[float] | None, seed: int) -> list[Any]:
    """Rows of several sources: all of them once, or by ``weights`` as many as it takes to have every row once at least.

    By weight w of W a source gives its share w / W of the rows, each equally often or, by ``seed``, once more.
    """
    if weights is None:
        return [row for group in groups for row in group]
    shares = [weight / sum(weights) for weight in weights]
    total = max(len(group) / share for group, share in zip(groups, shares, strict=True))
    rows = []
    for number, (group, share) in enumerate(zip(groups, shares, strict=True)):
        times, rest = divmod(round(total * share), len(group))
        order = np.random.default_rng((seed, number)).permutation(len(group))[:rest]
        rows += [*list(group) * times, *(group[index] for index in order)]
    return rows
