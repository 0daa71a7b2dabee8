"""What the stages share: dialogues in; losses on language, captions, their words and the decoders' noise out."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from nextgpt_lite.checkpoint import load_tokenizer, save_core, trained_state
from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore, caption_loss
from train.dialogues.bins import BinnedRows, packed, pad_rows
from train.dialogues.embed import StepTable, own_device
from train.dialogues.encode import DialogueRows, Row
from train.dialogues.loader import Loader
from train.dialogues.media import AT_START
from train.recipe import RecipeError
from train.task import Task

EVALUATION_BATCH = 25


class StageModel(nn.Module):
    """The core with the three losses of NExT-GPT (2309.05519, Sec. 4): cross-entropy, caption alignment of each output
    modality, and the noise loss of its decoder on the media that it should have made.

    Caption distances are divided by the mean norm of their targets, so that one weight serves all decoders.
    ``decoders`` stay outside the module: they are frozen, and gradients pass through them.

    With ``words`` there is one more loss, of a head that is thrown away after training: the state of signal token i
    must tell word i of the caption. The distance alone says only through the whole output projection what a signal
    token should have fetched; a small model learns that many times faster from the words themselves.
    """

    def __init__(
        self,
        core: AnyToAnyCore,
        caption_weight: float,
        *,
        words: int = 0,
        word_weight: float = 0.0,
        noise_weight: float = 0.0,
        decoders: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.core, self.decoders = core, dict(decoders or {})
        self.weights = {"language": 1.0, "caption": caption_weight, "words": word_weight, "noise": noise_weight}
        self.word_head = nn.Linear(core.config.text_config.hidden_size, words) if words else None

    def forward(
        self,
        input_ids,
        labels,
        media_embeddings=None,
        media_mask=None,
        position_ids=None,
        shares=None,
        **targets,
    ) -> dict[str, torch.Tensor]:
        """Ids and labels (B, T), media (B, M, E); of each output modality ``target_<modality>`` (spans, L, C) and,
        where these losses are wanted, ``words_<modality>`` (spans, n) and ``latents_<modality>`` (spans, ...), these
        for the spans ``latents_at_<modality>`` alone where not all have media. ``position_ids`` (1, T) that begin anew
        set packed dialogues apart.

        ``shares`` says of each part of the loss what this batch counts for in its step; None = it is the step.
        """
        # Without a cache, transformers tells packed rows by their positions.
        packing = {} if position_ids is None else {"position_ids": position_ids, "use_cache": False}
        media = {"media_embeddings": media_embeddings, "media_mask": media_mask}
        output = self.core(input_ids, **media, **packing, logits_to_keep=1)
        parts = {"language": self.core.language_loss(output.last_hidden_state, labels)}
        for modality in self.core.table.spans:
            if f"target_{modality}" in targets:
                parts |= self._span_losses(modality, input_ids, output.last_hidden_state, targets)
        weights = {name: self.weights[name.partition("_")[0]] for name in parts}
        if shares is not None:
            weights = {name: weight * shares[name] for name, weight in weights.items()}
        loss = sum(weights[name] * part for name, part in parts.items())
        return {"loss": loss} | {name: part.detach() for name, part in parts.items()}

    @property
    def _no_split_modules(self) -> list[str] | None:
        """Names of the layers that FSDP shards one by one."""
        return self.core.language_model._no_split_modules

    def activation_checkpointing_enable(self, **kwargs) -> None:
        self.core.language_model.activation_checkpointing_enable(**kwargs)

    def gradient_checkpointing_enable(self, **kwargs) -> None:
        """What older transformers call it."""
        self.core.language_model.gradient_checkpointing_enable(**kwargs)

    def _span_losses(
        self, modality: str, input_ids: torch.Tensor, hidden: torch.Tensor, targets: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Losses on all spans of a modality, from ids (B, T) and hidden states (B, T, D)."""
        condition, target = self.core.conditions(input_ids, hidden, modality), targets[f"target_{modality}"]
        losses = {f"caption_{modality}": caption_loss(condition, target) / target.float().norm(dim=-1).mean()}
        if f"words_{modality}" in targets:
            told = self.word_head(hidden[self.core.table.signal_mask(input_ids, modality)])  # (spans n, words)
            words = targets[f"words_{modality}"].flatten()
            losses[f"words_{modality}"] = functional.cross_entropy(told.float(), words)
        if f"latents_{modality}" in targets:
            decoder = self.decoders[modality].to(condition.device)
            at = targets.get(f"latents_at_{modality}")
            wanted = condition if at is None else condition[at]
            losses[f"noise_{modality}"] = decoder.noise_loss(targets[f"latents_{modality}"], wanted)
        return losses


class DialogueTask(Task):
    """A stage on dialogues. Subclasses say where the core comes from and which parts it has."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "seed": 21,
        "dialogues": 20_000,
        "kinds": [],  # of dialogue; none = all, by their own weights
        "misdrawn": 0.0,  # share of the assistant's media in Toybox's edits that show something else than was said
        "tokens_per_bin": 2048,
        "caption_weight": 2.0,
        "word_weight": 0.0,  # of the words that signal tokens must tell of their caption; 0 = no such loss
        "noise_weight": 0.0,  # of the decoders' own loss; above 0 needs whole decoders, not their text encoders alone
        "group_by_modality": False,  # no batch mixes dialogues with media and dialogues without
        "pack_text": False,  # dialogues in words alone lie end to end in one row, without padding; groups them too
        "held_out": 400,  # dialogues of evaluate(), of Toybox; of a manifest see train.dialogues.records
        "new_encoder": False,  # the encoder may be another than the core was trained on so far; the core notes which
        "data": [],  # where dialogues come from, see train.dialogues.records; none = Toybox
        "embeddings": AT_START,  # when media of manifests are embedded: "start", "steps", or a folder that has them
        "bad_records": "refuse",  # records that cannot be used: none is allowed, or "skip" up to bad_limit
        "bad_limit": 0.01,  # share of all records
    }
    #: Folder of the core in the model folder that this stage writes.
    output: ClassVar[str] = "core"
    stage_model: ClassVar[type[StageModel]] = StageModel

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        self.encoder = self.load_encoder().to(own_device())
        self.decoders = self.load_decoders()
        chosen, core = self.settings, self.load_core()
        self._settle_encoder(core)
        if core.config.image_size:
            self.encoder.set_image_size(core.config.image_size)
        self.tokenizer = load_tokenizer(self.model_dir / "tokenizer", core.config)
        self.loader = Loader(chosen, core.config, self.encoder, self.tokenizer, self.decoders, self.kinds())
        self.conditions, self.latents = self.loader.conditions, self.loader.latents
        data = None if self.loader.streams else self.loader.training()
        if data is None and chosen["word_weight"]:
            raise RecipeError("word_weight must be 0 with streams: the words of their captions are not known before")
        self.words = caption_words(data.rows) if data is not None and chosen["word_weight"] else {}
        self.model = self.stage_model(
            core,
            chosen["caption_weight"],
            words=len(self.words),
            word_weight=chosen["word_weight"],
            noise_weight=chosen["noise_weight"],
            decoders=self.decoders,
        )
        if data is None:
            self.embeddings = StepTable(self.encoder, core.config.features, self.loader.stores)
            self.dataset = self.stream()
        else:
            self.embeddings, self.dataset = data.embeddings, self.bins(data)

    def _settle_encoder(self, core: AnyToAnyCore) -> None:
        """RecipeError where the core was trained on another encoder and the recipe knows nothing of that."""
        before, now = core.config.encoder_identity, self.encoder.identity
        if before != now and not self.settings["new_encoder"]:
            raise RecipeError(
                f"the core was trained on encoder {before[:12]}, this one is {now[:12]}: put the former back, or set "
                "new_encoder: true to train the core on with this one"
            )
        core.config.encoder_identity = now

    def load_encoder(self) -> Any:
        """What reads media: the encoder, or CLIP's tower where the settings ask for visual prompts."""
        if self.settings.get("visual"):
            from encoders.open_clip import OpenClipVision  # takes seconds to import, and only V2 needs it

            return OpenClipVision.from_pretrained(self.model_dir / "vision_tower")
        from encoders.media_encoder import MediaEncoder

        return MediaEncoder.from_pretrained(self.model_dir / "encoder").eval()

    def load_core(self) -> AnyToAnyCore:
        """The core that this stage starts from."""
        raise TypeError(f"{type(self).__name__} must say where its core comes from")

    def load_decoders(self) -> dict[str, Any]:
        """What reads the captions that this stage aims at, by modality."""
        from train.dialogues.caption_encoders import caption_encoders, whole_decoders

        return (whole_decoders if self.settings["noise_weight"] else caption_encoders)(self.model_dir)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        core = self.model.core
        own = {f"language_model.{name}": p for name, p in core.language_model.named_parameters()}
        trained = trained_state(core)
        lora = [p for name, p in own.items() if ".lora_" in name]
        tuned = [p for name, p in own.items() if name in trained and ".lora_" not in name]
        base = [p for name, p in own.items() if name not in trained]
        parts = {
            "language_model": base,
            "added_rows": [core.added_embedding, core.added_output],
            "input_projection": [] if core.input_projection is None else list(core.input_projection.parameters()),
            "bind_network": [] if core.bind_network is None else list(core.bind_network.parameters()),
            "gated_prompts": list(core.gated_prompts.parameters()),
            "output_projections": list(core.output_projections.parameters()),
        }
        visual = [] if core.visual_prompts is None else list(core.visual_prompts.parameters())
        words = [] if self.model.word_head is None else list(self.model.word_head.parameters())
        found = {"lora": lora, "bias_tuning": tuned, "visual_prompts": visual, "word_head": words}
        return parts | {name: parameters for name, parameters in found.items() if parameters}

    def bins(self, data: DialogueRows) -> Dataset:
        """The dataset: dialogues of similar length in bins."""
        return self.binned(data.rows)

    def stream(self) -> Dataset:
        """The dataset where dialogues are read as streams."""
        return self.loader.stream(self.binned)

    def binned(self, rows: list[Row]) -> BinnedRows:
        """Rows of similar length in bins, those with media apart from those without where the settings say so."""
        chosen = self.settings
        apart = chosen["group_by_modality"] or chosen["pack_text"]
        group = (lambda row: bool(row.media)) if apart else None
        return BinnedRows(rows, chosen["tokens_per_bin"], chosen["seed"], group)

    def begin(self, run_dir: Path, resume: bool) -> None:
        self.loader.begin(run_dir, resume)

    def describe_data(self) -> list[str]:
        """The bins of dialogues and their sources."""
        return [*super().describe_data(), *self.loader.describe()]

    def collate(self, items: list[list[Row]]) -> dict[str, torch.Tensor]:
        rows = self.loader.usable([row for item in items for row in item], self.embeddings, self.fits)
        batch = self.batch(rows, self.embeddings)
        packs = self.settings["pack_text"] and not any(row.media for row in rows)
        return batch | packed([row.ids for row in rows], batch["labels"]) if packs else batch

    def fits(self, row: Row, other: Row) -> bool:
        """Whether ``other`` may stand in a batch in place of ``row``."""
        return bool(row.media) == bool(other.media)

    def batch(self, rows: list[Row], embeddings: Any) -> dict[str, torch.Tensor]:
        """Rows -> ids, labels, media embeddings (B, M, E) or patches, caption targets, latents of target media."""
        ids = pad_rows([row.ids for row in rows], 0)
        spoken = pad_rows([row.spoken for row in rows], 0)
        batch = {"input_ids": ids, "labels": ids.masked_fill(spoken == 0, -100)}
        batch |= batch_media([[embeddings[number] for number in row.media] for row in rows])
        for modality in self.decoders:
            captions = [caption for row in rows for caption in row.captions[modality]]
            if captions:
                batch[f"target_{modality}"] = self.conditions.stack(modality, captions)
                if self.words:
                    batch[f"words_{modality}"] = self._word_labels(captions, self.model.core.table.counts[modality])
                batch |= self.latents.targets(modality, [part for row in rows for part in row.made[modality]])
        return batch

    def denominators(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | float]:
        """Tokens that are learnt, norms of caption targets, words, latents."""
        counts: dict[str, torch.Tensor | float] = {"language": (batch["labels"][:, 1:] != -100).sum()}
        for modality in self.model.core.table.spans:
            target, words = batch.get(f"target_{modality}"), batch.get(f"words_{modality}")
            counts[f"caption_{modality}"] = 0.0 if target is None else target.float().norm(dim=-1).sum()
            counts[f"words_{modality}"] = 0 if words is None else words.numel()
            counts[f"noise_{modality}"] = len(batch.get(f"latents_{modality}", ()))
        return counts

    def _word_labels(self, captions: list[str], count: int) -> torch.Tensor:
        """Numbers of the first ``count`` words of each caption (N, count); 0 where it has ended or a word is new."""
        told = [[self.words.get(word, 0) for word in caption.split()[:count]] for caption in captions]
        return torch.tensor([numbers + [0] * (count - len(numbers)) for numbers in told])

    def export(self, model_dir: Path) -> None:
        save_core(self.model.core, Path(model_dir) / self.output)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On dialogues that training never saw: losses, and the share whose replies are right token by token.

        The share is told for each kind of Toybox and for each manifest; where there are several sources, so is the
        loss of each.
        """
        data = self.loader.held_out()
        sources = list(dict.fromkeys(row.source for row in data.rows))
        right, sums = defaultdict(list), defaultdict(list)
        for source in sources:
            rows = [row for row in data.rows if row.source == source]
            for start in range(0, len(rows), EVALUATION_BATCH):
                batch = self.loader.readable(rows[start : start + EVALUATION_BATCH], data.embeddings)
                losses, hits = self._judge(batch, data) if batch else ({}, [])
                for name, value in losses.items():
                    sums[name].append(value)
                    sums[f"loss_{source}"] += [value] if name == "loss" else []
                for row, hit in zip(batch, hits, strict=True):
                    right[row.kind].append(hit)
        if len(sources) == 1:
            sums.pop(f"loss_{sources[0]}", None)
        figures = {name: sum(values) / len(values) for name, values in sums.items()}
        figures |= {f"right_{kind}": sum(hits) / len(hits) for kind, hits in sorted(right.items())}
        every = [hit for hits in right.values() for hit in hits]
        return figures | ({"right": sum(every) / len(every)} if every else {})

    def _judge(self, rows: list[Row], data: DialogueRows) -> tuple[dict[str, float], list[bool]]:
        """Losses of a batch, and which of its rows' replies are right."""
        device = next(self.model.parameters()).device
        batch = {name: value.to(device) for name, value in self.batch(rows, data.embeddings).items()}
        losses = {name: float(value) for name, value in self.model(**batch).items()}
        given = {name: batch[name] for name in ("media_embeddings", "media_mask") if name in batch}
        logits = self.model.core(batch["input_ids"], **given).logits
        wrong = (logits[:, :-1].argmax(-1) != batch["labels"][:, 1:]) & (batch["labels"][:, 1:] != -100)
        return losses, (~wrong.any(1)).tolist()

    def kinds(self) -> list[str]:
        """Kinds of Toybox's dialogues, taken in turn; none = all, by their own weights."""
        return self.settings["kinds"]


def caption_words(rows: list[Row]) -> dict[str, int]:
    """Every word of the rows' captions and its number, from 1 on; 0 stands for no word."""
    words = {word for row in rows for captions in row.captions.values() for c in captions for word in c.split()}
    return {"": 0} | {word: number for number, word in enumerate(sorted(words), start=1)}
