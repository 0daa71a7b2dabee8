"""A stage on dialogues: records -> encode -> embed -> bin -> collate, then the losses of :class:`StageModel`."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import send_to_device
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from data.toybox import KINDS
from encoders import load_encoder
from nextgpt_lite.checkpoint import load_tokenizer
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import CONTEXT_ADAPTER, load_core, save_core, trained_state
from nextgpt_lite.generate import Prepared, Sampling, end_tokens, generate
from nextgpt_lite.model import AnyToAnyCore, caption_loss
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
from train.task import SampleReply, Task, expose_layers

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
        encoder_lora: dict[str, Any] = setting({"r": 8, "lora_dropout": 0.0}, help="of peft, for tune_encoder: lora")

    settings: Settings
    model: "StageModel"
    output: ClassVar[str] = "core"
    reads: ClassVar[tuple[str, ...]] = ("encoder", "decoders")
    evaluates_anywhere: ClassVar[bool] = True

    def build(self) -> None:
        chosen = self.settings
        self.encoder = load_encoder(self.encoder_folder()).to(own_device())
        if chosen.simulated:
            simulate(self.encoder, chosen.simulated)
        core = self.load_core()
        self._check_encoder(core.config)
        self.decoders = self.load_decoders(core.config)
        self.tokenizer = load_tokenizer(self.model_dir / "tokenizer", core.config)
        self.loader = DialogueLoader(chosen, core.config, self.encoder, self.tokenizer, self.decoders, self.kinds())
        rows = None if self.loader.streams else self.loader.training()
        if rows is None and chosen.word_weight:
            raise RecipeError("word_weight must be 0 with streams: the words of their captions are not known before")
        words = caption_words(rows) if rows is not None and chosen.word_weight else {}
        self.ahead = ThreadPoolExecutor(1)  # one: batches are made in their order
        self.collator = Collator(self.loader, words, core.table.counts)
        weights = {"caption": chosen.caption_weight, "words": chosen.word_weight, "noise": chosen.noise_weight}
        tuned = self._tuned_encoder(core.config) if chosen.tune_encoder else None
        self.model = StageModel(core, weights, len(words), self.decoders, tuned)
        self.dataset = self.dataset_of(rows)

    def _tuned_encoder(self, config: CoreConfig) -> TunedEncoder:
        lora = lora_settings(self.settings.encoder_lora) if self.settings.tune_encoder == "lora" else None
        return TunedEncoder(self.encoder, config.features, lora)

    @abstractmethod
    def load_core(self) -> AnyToAnyCore:
        """The core that this stage starts from."""

    def trained_core(self, name: str, quantised: bool = False) -> AnyToAnyCore:
        """The core that an earlier stage left in the folder ``name`` of the model."""
        model = self.model_dir
        return load_core(model / name, model / "language_model", quantised, model / CONTEXT_ADAPTER)

    @abstractmethod
    def has_visual_prompts(self) -> bool:
        """Whether LLaMA-Adapter V2's visual prompts read media."""

    def encoder_folder(self) -> Path:
        """CLIP's tower of a core with visual prompts, else the encoder."""
        return self.model_dir / ("vision_tower" if self.has_visual_prompts() else "encoder")

    def load_decoders(self, config: CoreConfig) -> dict[str, Any]:
        """What reads the captions that this stage aims at, for each modality that the core has conditions for."""
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


class StageModel(nn.Module):
    """The core with the three losses of NExT-GPT (2309.05519, Sec. 4): cross-entropy, caption alignment of each output
    modality, and the noise loss of its decoder on the medium that is to be generated.

    Caption distances are divided by the mean norm of their targets, so that one weight serves all decoders.
    ``weights`` are those of "caption", "words" and "noise". ``decoders``, frozen, pass gradients on; they stay outside.

    With ``words`` there is one more loss, of a head that is thrown away after training: word i of the caption is to be
    predicted from the state of signal token i. The caption distance reaches a signal token only through the whole
    output projection; from the words a small model learns many times faster what a signal token should attend to.
    """

    def __init__(
        self,
        core: AnyToAnyCore,
        weights: Mapping[str, float],
        words: int,
        decoders: Mapping[str, Any],
        encoder: TunedEncoder | None = None,
    ) -> None:
        super().__init__()
        self.core, self.decoders, self.encoder = core, decoders, encoder
        self.weights = {"language": 1.0, **weights}
        expose_layers(self, core.language_model)
        self.word_head = nn.Linear(core.config.text_config.hidden_size, words) if words else None

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        shares: Mapping[str, float] | None = None,
        **batch: Any,
    ) -> dict[str, torch.Tensor]:
        """Ids and labels (B, T), media as :meth:`media` takes them; of each output modality ``target_<modality>``
        (spans, L, C) and, where wanted, ``words_<modality>`` (spans, n) and ``latents_<modality>`` (spans, ...), these
        for the spans ``latents_at_<modality>`` alone where not all have media. ``position_ids`` (1, T) that begin anew
        set packed dialogues apart. Others are ignored.

        ``shares`` says of each part of the loss what this batch counts for in its step; None = it is the step.
        """
        # Without a cache, transformers separates packed rows by their positions.
        packing = {} if position_ids is None else {"position_ids": position_ids, "use_cache": False}
        output = self.core(input_ids, **self.media({"input_ids": input_ids, **batch}), **packing, logits_to_keep=1)
        parts = {"language": self.core.language_loss(output.last_hidden_state, labels)}
        for modality in self.core.table.spans:
            if f"target_{modality}" in batch:
                parts |= self._span_losses(modality, input_ids, output.last_hidden_state, batch)
        weights = {name: self.weights[name.partition("_")[0]] for name in parts}
        if shares is not None:
            weights = {name: weight * shares[name] for name, weight in weights.items()}
        loss = sum((weights[name] * part for name, part in parts.items()), torch.zeros((), device=labels.device))
        return {"loss": loss} | {name: part.detach() for name, part in parts.items()}

    def media(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The core's keywords: media embeddings (B, M, E), or patches, and their mask, given or made here."""
        if self.encoder is not None:
            return self.encoder(batch)
        return {name: batch[name] for name in ("media_embeddings", "media_mask") if name in batch}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter, by the part that a recipe gives a learning rate."""
        core = self.core
        own = {f"language_model.{name}": p for name, p in core.language_model.named_parameters()}
        trained = trained_state(core)
        base = [p for name, p in own.items() if name not in trained]
        parts = {"language_model": base, "added_rows": [core.added_embedding, core.added_output]}
        around = ("input_projection", "bind_network", "gated_prompts", "output_projections")
        parts |= {name: _parameters(getattr(core, name)) for name in around}
        optional = {
            "lora": [p for name, p in own.items() if ".lora_" in name],
            "bias_tuning": [p for name, p in own.items() if name in trained and ".lora_" not in name],
            "visual_prompts": _parameters(core.visual_prompts),
            "word_head": _parameters(self.word_head),
            "encoder": [] if self.encoder is None else self.encoder.trained(),
        }
        return parts | {name: parameters for name, parameters in optional.items() if parameters}

    def _span_losses(
        self, modality: str, input_ids: torch.Tensor, hidden: torch.Tensor, targets: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Losses on all spans of a modality, from ids (B, T) and hidden states (B, T, D)."""
        condition, target = self.core.conditions(input_ids, hidden, modality), targets[f"target_{modality}"]
        losses = {f"caption_{modality}": caption_loss(condition, target) / target.float().norm(dim=-1).mean()}
        if f"words_{modality}" in targets and self.word_head is not None:
            logits = self.word_head(hidden[self.core.table.signal_mask(input_ids, modality)])  # (spans n, words)
            words = targets[f"words_{modality}"].flatten()
            losses[f"words_{modality}"] = functional.cross_entropy(logits.float(), words)
        if f"latents_{modality}" in targets:
            decoder = self.decoders[modality].to(condition.device)
            at = targets.get(f"latents_at_{modality}")
            wanted = condition if at is None else condition[at]
            losses[f"noise_{modality}"] = decoder.noise_loss(targets[f"latents_{modality}"], wanted)
        return losses


def _parameters(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else list(module.parameters())
