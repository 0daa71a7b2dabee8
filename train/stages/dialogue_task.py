"""What the three stages share: dialogues in, language loss and caption loss out."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import Dataset

from nextgpt_lite.checkpoint import load_tokenizer, save_core, trained_state
from nextgpt_lite.model import AnyToAnyCore, caption_loss, language_loss
from train.bins import BinnedRows, pad_rows
from train.stages.dialogue_data import CaptionConditions, DialogueRows, Row
from train.task import Task

EVALUATION_SEED = 700


class StageModel(nn.Module):
    """The core with the losses of NExT-GPT: cross-entropy plus caption alignment of each output modality.

    Caption distances are divided by the mean norm of their targets, so that one weight serves all decoders.
    """

    def __init__(self, core: AnyToAnyCore, caption_weight: float) -> None:
        super().__init__()
        self.core, self.caption_weight = core, caption_weight

    def forward(self, input_ids, labels, media_embeddings=None, **targets) -> dict[str, torch.Tensor]:
        """Ids and labels (B, T), media (B, M, E), ``target_<modality>`` (spans, L, C)."""
        output = self.core(input_ids, media_embeddings=media_embeddings)
        language = language_loss(output.logits, labels)
        losses = {"loss": language, "language": language.detach()}
        for name, target in targets.items():
            modality = name.removeprefix("target_")
            condition = self.core.conditions(input_ids, output.last_hidden_state, modality)
            distance = caption_loss(condition, target) / target.float().norm(dim=-1).mean()
            losses["loss"] = losses["loss"] + self.caption_weight * distance
            losses[f"caption_{modality}"] = distance.detach()
        return losses


class DialogueTask(Task):
    """A stage on dialogues. Subclasses say where the core comes from and which parts it has."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "seed": 21,
        "dialogues": 20_000,
        "kinds": [],  # of dialogue; none = all, by their own weights
        "tokens_per_bin": 2048,
        "caption_weight": 2.0,
        "held_out": 400,  # dialogues of evaluate()
    }
    #: Folder of the core in the model folder that this stage writes.
    output: ClassVar[str] = "core"
    stage_model: ClassVar[type[StageModel]] = StageModel

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        from encoders.media_encoder import MediaEncoder

        self.encoder = MediaEncoder.from_pretrained(self.model_dir / "encoder").eval()
        self.decoders = self.load_decoders()
        core = self.load_core()
        self.tokenizer = load_tokenizer(self.model_dir / "tokenizer", core.config)
        self.model = self.stage_model(core, self.settings["caption_weight"])
        self.conditions = CaptionConditions(self.decoders)
        data = self._rows(self.settings["seed"], self.settings["dialogues"])
        self.embeddings = data.embeddings
        self.dataset = self.bins(data)

    def load_core(self) -> AnyToAnyCore:
        """The core that this stage starts from."""
        raise TypeError(f"{type(self).__name__} must say where its core comes from")

    def load_decoders(self) -> dict[str, Any]:
        """What reads the captions that this stage aims at, by modality."""
        from train.stages.caption_encoders import caption_encoders

        return caption_encoders(self.model_dir)

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
        found = {"lora": lora, "bias_tuning": tuned, "visual_prompts": visual}
        return parts | {name: parameters for name, parameters in found.items() if parameters}

    def bins(self, data: DialogueRows) -> Dataset:
        """The dataset: dialogues of similar length in bins."""
        return BinnedRows(data.rows, self.settings["tokens_per_bin"], self.settings["seed"])

    def collate(self, items: list[list[Row]]) -> dict[str, torch.Tensor]:
        return self.batch([row for item in items for row in item], self.embeddings)

    def batch(self, rows: list[Row], embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
        """Rows -> ids, labels, media embeddings (B, M, E), caption targets."""
        ids = pad_rows([row.ids for row in rows], 0)
        spoken = pad_rows([row.spoken for row in rows], 0)
        batch = {"input_ids": ids, "labels": ids.masked_fill(spoken == 0, -100)}
        most = max(len(row.media) for row in rows)
        if most:
            media = torch.zeros(len(rows), most, embeddings.shape[1])
            for i, row in enumerate(rows):
                media[i, : len(row.media)] = embeddings[row.media]
            batch["media_embeddings"] = media
        for modality in self.decoders:
            captions = [caption for row in rows for caption in row.captions[modality]]
            if captions:
                batch[f"target_{modality}"] = self.conditions.stack(modality, captions)
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
            logits = self.model.core(batch["input_ids"], media_embeddings=batch.get("media_embeddings")).logits
            wrong = (logits[:, :-1].argmax(-1) != batch["labels"][:, 1:]) & (batch["labels"][:, 1:] != -100)
            for kind, hit in zip(data.kinds[start:], (~wrong.any(1)).tolist(), strict=False):
                right[kind] += hit
                total[kind] += 1
        figures = {name: sum(values) / len(values) for name, values in sums.items()}
        figures |= {f"right_{kind}": right[kind] / total[kind] for kind in sorted(total)}
        return figures | {"right": sum(right.values()) / sum(total.values())}

    def _rows(self, seed: int, count: int) -> DialogueRows:
        table = self.model.core.table
        data = DialogueRows(self.encoder, self.tokenizer, table, seed, count, self.settings["kinds"])
        self.conditions.add(data.rows)
        return data
