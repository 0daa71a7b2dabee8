"""A stage on dialogues: records -> encode -> embed -> bin -> collate, then the losses of :class:`StageModel`."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import send_to_device
from torch import nn
from torch.utils.data import Dataset

from data.toybox import KINDS
from encoders import load_encoder
from nextgpt_lite.checkpoint import load_tokenizer
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import CONTEXT_ADAPTER, load_core, save_core
from nextgpt_lite.generate import Prepared, Sampling, end_tokens, generate
from nextgpt_lite.model import AnyToAnyCore
from train.dialogues.bins import BinnedRows
from train.dialogues.collate import Collator, caption_words
from train.dialogues.embed import encode_media, own_device
from train.dialogues.encode import Row
from train.dialogues.loader import Candidates, DataSettings, DialogueLoader
from train.dialogues.records import Medium
from train.dialogues.simulated import simulate
from train.dialogues.targets import target_decoders
from train.dialogues.tuned_encoder import TunedEncoder
from train.engine.lora import lora_settings
from train.settings import RecipeError, setting
from train.stages.stage_model import StageModel
from train.task import SampleReply, Task

TOYBOX_KINDS, EVALUATION_BATCH = tuple(dict(KINDS)), 25
#: Replies that are shown while a run trains, and their tokens.
SHOWN_REPLIES, SHOWN_TOKENS = 4, 60


class DialogueTask(Task):
    """A stage on dialogues. Subclasses build the core; they may regroup its parts and say what shares a bin."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        kinds: list[str] = setting([], choices=TOYBOX_KINDS, help="of Toybox's dialogues; none = all, by own weights")
        tokens_per_bin: int = setting(2048, low=1, help="of a batch of rows of similar length, padding included")
        caption_weight: float = setting(2.0, low=0, help="of the distance to the captions' conditions")
        word_weight: float = setting(0.0, low=0, help="of predicting the caption's words from signal tokens; 0 = not")
        group_by_modality: bool = setting(False, help="no batch mixes dialogues with media and dialogues without")
        pack_text: bool = setting(False, help="dialogues in words alone lie end to end in one row; groups them too")
        simulated: list[str] = setting([], help="modalities of things whose tokens are made of captions, not media")
        new_encoder: bool = setting(False, help="the encoder may differ from the one that the core was trained on")
        precision: str = setting("float32", choices=("float32", "bfloat16"), help="of a frozen language model")
        encoder_lora: dict[str, Any] = setting({"r": 8, "lora_dropout": 0.0}, help="of peft, for tune_encoder: lora")

    settings: Settings
    model: StageModel
    output: ClassVar[str] = "core"
    reads: ClassVar[tuple[str, ...]] = ("encoder", "decoders")
    evaluates_anywhere: ClassVar[bool] = True

    def build(self) -> None:
        chosen = self.settings
        self.encoder = self.load_encoder()
        if chosen.simulated:
            simulate(self.encoder, chosen.simulated)
        core = self.load_core()
        self.tune(core)
        self._check_encoder(core.config)
        self.decoders = self.load_decoders(core.config)
        self.tokenizer = load_tokenizer(self.model_dir / "tokenizer", core.config)
        self.loader = DialogueLoader(chosen, core.config, self.encoder, self.tokenizer, self.decoders, self.kinds())
        rows = None if self.loader.streams else self.training_rows()
        if rows is None and chosen.word_weight:
            raise RecipeError("word_weight must be 0 with streams: the words of their captions are not known before")
        words = caption_words(rows) if rows is not None and chosen.word_weight else {}
        self.ahead = ThreadPoolExecutor(1)  # one: batches are made in their order
        self.collator = Collator(self.loader, words, core.table.counts)
        weights = {"caption": chosen.caption_weight, "words": chosen.word_weight, "noise": chosen.noise_weight}
        tuned = self._tuned_encoder(core.config) if chosen.tune_encoder else None
        self.model = self.stage_model(core, weights, len(words), tuned)
        self.dataset = self.dataset_of(rows)

    def stage_model(
        self, core: AnyToAnyCore, weights: dict[str, float], words: int, tuned: TunedEncoder | None
    ) -> StageModel:
        """The core with its losses."""
        return StageModel(core, weights, words, self.decoders, tuned)

    def _tuned_encoder(self, config: CoreConfig) -> TunedEncoder:
        lora = lora_settings(self.settings.encoder_lora) if self.settings.tune_encoder == "lora" else None
        return TunedEncoder(self.encoder, config.features, lora)

    def load_encoder(self) -> Any:
        """What reads the media, frozen."""
        return load_encoder(self.encoder_folder()).to(own_device())

    @abstractmethod
    def core_config(self) -> CoreConfig:
        """The configuration of the core that this stage starts from."""

    @abstractmethod
    def load_core(self) -> AnyToAnyCore:
        """The core that this stage starts from."""

    def tune(self, core: AnyToAnyCore) -> None:
        """Put on the language model what this stage trains of it, in place."""
        return

    def precision(self) -> str:
        """How the language model is held (nextgpt_lite.language_models)."""
        return self.settings.precision

    def training_rows(self) -> list[Row]:
        """The rows to train on, where they are not read as streams."""
        return self.loader.training()

    def trained_core(self, name: str) -> AnyToAnyCore:
        """The core that an earlier stage left in the folder ``name`` of the model."""
        model = self.model_dir
        return load_core(model / name, model / "language_model", self.precision(), model / CONTEXT_ADAPTER)

    @abstractmethod
    def has_visual_prompts(self) -> bool:
        """Whether LLaMA-Adapter V2's visual prompts read media."""

    def encoder_folder(self) -> Path:
        """CLIP's tower of a core with visual prompts, else the encoder."""
        return self.model_dir / ("vision_tower" if self.has_visual_prompts() else "encoder")

    def makes_media(self) -> bool:
        """Whether what this stage trains makes media."""
        return True

    def load_decoders(self, config: CoreConfig) -> dict[str, Any]:
        """What reads the captions that this stage aims at, for each modality that the core has conditions for."""
        if not self.makes_media():
            return {}
        whole = self.settings.noise_weight > 0
        return target_decoders(self.model_dir, config.conditions, whole, self.encoder.embed_text)

    def _check_encoder(self, config: CoreConfig) -> None:
        """Note the encoder in the core. RecipeError where the core was trained on another one, unless allowed."""
        before, now = config.encoder_identity, self.encoder.identity
        if before != now and not self.settings.new_encoder:
            advice = "put the former back, or set new_encoder: true to train the core on with this one"
            raise RecipeError(f"the core was trained on encoder {before[:12]}, this one is {now[:12]}: {advice}")
        config.encoder_identity = now
        if config.image_size:
            self.encoder.set_image_size(config.image_size)

    def kinds(self) -> list[str]:
        """Kinds of Toybox's dialogues, taken in turn; none = all, by their own weights."""
        return self.settings.kinds

    def dataset_of(self, rows: list[Row] | None) -> Dataset:
        """The dataset: dialogues of similar length in bins; None = they are read as streams."""
        return self.loader.stream(self.binned) if rows is None else self.binned(rows)

    def binned(self, rows: list[Row]) -> BinnedRows:
        """Rows of similar length in bins, those with media apart from those without where the settings say so."""
        chosen = self.settings
        apart = chosen.group_by_modality or chosen.pack_text
        return BinnedRows(rows, chosen.tokens_per_bin, chosen.seed, lambda row: apart and bool(row.media))

    def fits(self, row: Row, other: Row) -> bool:
        """Whether ``other`` may replace ``row`` in a batch."""
        return bool(row.media) == bool(other.media)

    def collate(self, items: Sequence[Sequence[Row]]) -> dict[str, torch.Tensor] | Future[dict[str, torch.Tensor]]:
        """A batch of bins. Where media are read in steps, it is made while the model trains on the one before."""
        rows, candidates = [row for item in items for row in item], self.loader.candidates()
        if not self.loader.unreadable.read_in_steps:
            return self.make_batch(rows, candidates)
        return self.ahead.submit(self.make_batch, rows, candidates)

    def finish(self, batch: Any) -> dict[str, torch.Tensor]:
        return batch.result() if isinstance(batch, Future) else batch

    def make_batch(self, rows: list[Row], candidates: Candidates) -> dict[str, torch.Tensor]:
        """The batch of these rows; in place of one whose media cannot be read comes the next candidate that fits."""
        rows = self.loader.unreadable.replace(rows, candidates, self.fits)
        return self.collator(rows, pack=self.settings.pack_text and not any(row.media for row in rows))

    def denominators(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | float]:
        return self.collator.denominators(batch)

    def describe_data(self) -> list[str]:
        """The bins of dialogues and their sources."""
        return [*super().describe_data(), *self.loader.describe()]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return self.model.parts()

    def begin(self, run_dir: Path, resume: bool) -> None:
        self.loader.unreadable.begin(run_dir, resume)

    def export_folder(self, run_dir: Path) -> Path:
        """The run's own where a pretrained part is tuned: the one that it started from is the user's."""
        if not self.tunes_pretrained():
            return self.model_dir
        if run_dir.resolve() == self.model_dir.resolve():
            raise RecipeError(f"--out is {run_dir}: the run would write over the model that it starts from")
        return run_dir

    def tunes_pretrained(self) -> bool:
        """Whether the encoder, or another part that an earlier run has not made, is trained as a whole."""
        return bool(self.settings.tune_encoder)

    def left_out(self) -> tuple[str, ...]:
        """A visual cache holds what the encoder gave before it was tuned."""
        return ("cache",) if self.settings.tune_encoder else ()

    def export(self, model_dir: Path) -> None:
        """Write the core, and the encoder where it was tuned."""
        if self.model.encoder is not None:
            encoder = load_encoder(self.encoder_folder())
            encoder.load_state_dict(self.model.encoder.merged())
            encoder.save_pretrained(Path(model_dir) / self.encoder_folder().name)
            self.model.core.config.encoder_identity = encoder.identity
        save_core(self.model.core, Path(model_dir) / self.output)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On dialogues that training never saw: mean losses, and the share of rows whose replies are right token by
        token, for each kind of Toybox and for each manifest. Of several sources the loss of each is given too."""
        sources: dict[str, list[Row]] = defaultdict(list)
        for row in self.unseen:
            sources[row.source].append(row)
        right: dict[str, list[bool]] = defaultdict(list)
        losses: dict[str, list[float]] = defaultdict(list)
        for source, rows in sources.items():
            for start in range(0, len(rows), EVALUATION_BATCH):
                batch = self.loader.unreadable.leave_out(rows[start : start + EVALUATION_BATCH])
                if not batch:
                    continue
                found, hits = self._evaluate_batch(batch)
                for name, value in (found | ({f"loss_{source}": found["loss"]} if len(sources) > 1 else {})).items():
                    losses[name].append(value)
                for row, hit in zip(batch, hits, strict=True):
                    right[row.kind].append(hit)
        figures = {f"right_{kind}": hits for kind, hits in sorted(right.items())}
        figures |= {"right": [hit for hits in right.values() for hit in hits]} if right else {}
        return {name: sum(values) / len(values) for name, values in (losses | figures).items()}

    @cached_property
    def unseen(self) -> list[Row]:
        """Rows that training never sees."""
        return self.loader.held_out()

    def sample_replies(self) -> list[SampleReply]:
        """What the core answers, greedily, to the first conversations of one turn that training never sees."""
        rows = self.loader.unreadable.leave_out([row for row in self.unseen if row.replies == 1][:SHOWN_REPLIES])
        asked = [row.ids[: row.assistant_mask.index(1)] for row in rows]
        media = [[self._embedding(medium) for medium in row.media] for row in rows]
        requests = [(Prepared(ids, own), Sampling(SHOWN_TOKENS)) for ids, own in zip(asked, media, strict=True)]
        replies = generate(self.model.core, end_tokens(self.model.core, self.tokenizer), requests)
        decode: Any = self.tokenizer.decode
        return [
            SampleReply(decode(ids), decode(reply.ids), decode(row.ids[len(ids) :]))
            for row, ids, reply in zip(rows, asked, replies, strict=True)
        ]

    def _embedding(self, medium: Medium) -> torch.Tensor:
        """The embedding (E,) or the patch tokens (P, E) of a medium that has been read."""
        found, tuned = self.loader.embeddings[medium], self.model.encoder
        return found if tuned is None else encode_media(tuned.encoder, medium.modality, [found], tuned.features)[0]

    def _evaluate_batch(self, rows: list[Row]) -> tuple[dict[str, float], list[bool]]:
        """Losses of a batch, and which of its rows' replies are right."""
        device = next(self.model.parameters()).device
        batch = send_to_device(self.collator(rows), device)
        losses = {name: float(value) for name, value in self.model(**batch).items()}
        logits = self.model.core(batch["input_ids"], **self.model.media(batch)).logits
        wrong = (logits[:, :-1].argmax(-1) != batch["labels"][:, 1:]) & (batch["labels"][:, 1:] != -100)
        return losses, (~wrong.any(1)).tolist()
