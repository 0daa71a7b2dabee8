"""What the three stages share: dialogues in; language loss, caption loss and the decoders' noise loss out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from nextgpt_lite.checkpoint import load_tokenizer, save_core
from nextgpt_lite.media_places import batch_media
from nextgpt_lite.model import AnyToAnyCore, caption_loss, language_loss
from train.bins import BinnedRows, pad_rows
from train.stages.dialogue_data import CaptionConditions, DialogueRows, Row, TargetLatents
from train.task import Task

EVALUATION_SEED = 700


class StageModel(nn.Module):
    """The core with the three losses of NExT-GPT (2309.05519, Sec. 4): cross-entropy, caption alignment of each output
    modality, and the noise loss of its decoder on the media that it should have made.

    Caption distances are divided by the mean norm of their targets, so that one weight serves all decoders.
    ``decoders`` stay outside the module: they are frozen, and gradients pass through them.
    """

    def __init__(
        self,
        core: AnyToAnyCore,
        caption_weight: float,
        noise_weight: float = 0.0,
        decoders: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.core, self.caption_weight, self.noise_weight = core, caption_weight, noise_weight
        self.decoders = dict(decoders or {})

    def forward(self, input_ids, labels, media_embeddings=None, media_mask=None, **targets) -> dict[str, torch.Tensor]:
        """Ids and labels (B, T), media (B, M, E); of each output modality ``target_<modality>`` (spans, L, C) and,
        where the noise loss is wanted, ``latents_<modality>`` (spans, ...)."""
        output = self.core(input_ids, media_embeddings=media_embeddings, media_mask=media_mask)
        language = language_loss(output.logits, labels)
        losses = {"loss": language, "language": language.detach()}
        for modality in (name.removeprefix("target_") for name in targets if name.startswith("target_")):
            condition = self.core.conditions(input_ids, output.last_hidden_state, modality)
            target = targets[f"target_{modality}"]
            distance = caption_loss(condition, target) / target.float().norm(dim=-1).mean()
            losses["loss"] = losses["loss"] + self.caption_weight * distance
            losses[f"caption_{modality}"] = distance.detach()
            if f"latents_{modality}" in targets:
                decoder = self.decoders[modality].to(condition.device)
                noise = decoder.noise_loss(targets[f"latents_{modality}"], condition)
                losses["loss"] = losses["loss"] + self.noise_weight * noise
                losses[f"noise_{modality}"] = noise.detach()
        return losses


class DialogueTask(Task):
    """A stage on dialogues. Subclasses say where the core comes from and which parts it has."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "seed": 21,
        "dialogues": 20_000,
        "kinds": [],  # of dialogue; none = all, by their own weights
        "tokens_per_bin": 2048,
        "caption_weight": 2.0,
        "noise_weight": 0.0,  # of the decoders' own loss; above 0 needs whole decoders, not their text encoders alone
        "group_by_modality": False,  # no batch mixes dialogues with media and dialogues without
        "held_out": 400,  # dialogues of evaluate()
    }
    #: Folder of the core in the model folder that this stage writes.
    output: ClassVar[str] = "core"

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        from encoders.media_encoder import MediaEncoder

        self.encoder = MediaEncoder.from_pretrained(self.model_dir / "encoder").eval()
        self.decoders = self.load_decoders()
        chosen, core = self.settings, self.load_core()
        if core.config.image_size:
            self.encoder.set_image_size(core.config.image_size)
        self.tokenizer = load_tokenizer(self.model_dir / "tokenizer", core.config)
        self.model = StageModel(core, chosen["caption_weight"], chosen["noise_weight"], self.decoders)
        self.conditions = CaptionConditions(self.decoders)
        self.latents = TargetLatents(self.decoders if chosen["noise_weight"] else {})
        data = self._rows(chosen["seed"], chosen["dialogues"])
        self.embeddings = data.embeddings
        group = (lambda row: bool(row.media)) if chosen["group_by_modality"] else None
        self.dataset = BinnedRows(data.rows, chosen["tokens_per_bin"], chosen["seed"], group)

    def load_core(self) -> AnyToAnyCore:
        """The core that this stage starts from."""
        raise TypeError(f"{type(self).__name__} must say where its core comes from")

    def load_decoders(self) -> dict[str, Any]:
        """What reads the captions that this stage aims at, by modality."""
        from train.stages.caption_encoders import caption_encoders, whole_decoders

        return (whole_decoders if self.settings["noise_weight"] else caption_encoders)(self.model_dir)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        core = self.model.core
        lora = [p for n, p in core.language_model.named_parameters() if ".lora_" in n]
        base = [p for n, p in core.language_model.named_parameters() if ".lora_" not in n]
        parts = {
            "language_model": base,
            "added_rows": [core.added_embedding, core.added_output],
            "input_projection": [] if core.input_projection is None else list(core.input_projection.parameters()),
            "bind_network": [] if core.bind_network is None else list(core.bind_network.parameters()),
            "gated_prompts": list(core.gated_prompts.parameters()),
            "output_projections": list(core.output_projections.parameters()),
        }
        return parts | ({"lora": lora} if lora else {})

    def collate(self, items: list[list[Row]]) -> dict[str, torch.Tensor]:
        return self.batch([row for item in items for row in item], self.embeddings)

    def batch(self, rows: list[Row], embeddings: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Rows -> ids, labels, media embeddings (B, M, E) or patches, caption targets, latents of target media."""
        ids = pad_rows([row.ids for row in rows], 0)
        spoken = pad_rows([row.spoken for row in rows], 0)
        batch = {"input_ids": ids, "labels": ids.masked_fill(spoken == 0, -100)}
        batch |= batch_media([[embeddings[number] for number in row.media] for row in rows])
        for modality in self.decoders:
            captions = [caption for row in rows for caption in row.captions[modality]]
            if captions:
                batch[f"target_{modality}"] = self.conditions.stack(modality, captions)
            if captions and modality in self.latents.decoders:
                made = [part for row in rows for part in row.made[modality]]
                batch[f"latents_{modality}"] = self.latents.stack(modality, made)
        return batch

    def export(self, model_dir: Path) -> None:
        save_core(self.model.core, Path(model_dir) / self.output)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On fresh dialogues: losses, and for each kind the share whose replies are right token by token."""
        data = self._rows(EVALUATION_SEED, self.settings["held_out"])
        right, total, sums = defaultdict(int), defaultdict(int), defaultdict(list)
        for start in range(0, len(data.rows), 25):
            rows = data.rows[start : start + 25]
            batch = self.batch(rows, data.embeddings)
            for name, value in self.model(**batch).items():
                sums[name].append(float(value))
            given = {name: batch[name] for name in ("media_embeddings", "media_mask") if name in batch}
            logits = self.model.core(batch["input_ids"], **given).logits
            wrong = (logits[:, :-1].argmax(-1) != batch["labels"][:, 1:]) & (batch["labels"][:, 1:] != -100)
            for kind, hit in zip(data.kinds[start:], (~wrong.any(1)).tolist(), strict=False):
                right[kind] += hit
                total[kind] += 1
        figures = {name: sum(values) / len(values) for name, values in sums.items()}
        figures |= {f"right_{kind}": right[kind] / total[kind] for kind in sorted(total)}
        return figures | {"right": sum(right.values()) / sum(total.values())}

    def _rows(self, seed: int, count: int) -> DialogueRows:
        table = self.model.core.table
        kinds, features = self.settings["kinds"], self.model.core.config.input_features
        data = DialogueRows(self.encoder, self.tokenizer, table, seed, count, kinds, features)
        self.conditions.add(data.rows)
        self.latents.add(data.rows)
        return data
