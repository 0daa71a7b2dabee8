"""Joint training of LLaMA-Adapter V2 (2304.15010, Sec. 3.2): two kinds of data, two disjoint groups of parameters.

Captions move what brings a picture in: its projection and the early layers' gates. Instructions move what follows
instructions: the late layers' prompts and gates, norms, biases and scales (or LoRA). A step sees one kind of data, and
the other group keeps its values, so that neither overwrites what the other has learnt.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset

from nextgpt_lite.checkpoint import add_bias_tuning, add_lora
from nextgpt_lite.model import AnyToAnyCore
from train.dialogues.encode import DialogueRows, Row
from train.dialogues.records import TOYBOX
from train.engine.tuning import lora_settings
from train.recipe import RecipeError
from train.stages.dialogue_task import StageModel
from train.stages.encoding_alignment import EncodingAlignmentTask

#: Parts that captions move, and parts that instructions move: no part is in both.
CAPTION_PARTS = ("visual_prompts", "bind_network", "input_projection", "early_prompts", "placeholder_rows")
INSTRUCTION_PARTS = ("late_prompts", "bias_tuning", "lora", "signal_rows")


class JointModel(StageModel):
    """The losses of a stage; the flag that tells the two kinds of data apart is for the engine."""

    def forward(self, instruction: torch.Tensor | None = None, **batch) -> dict[str, torch.Tensor]:
        """``instruction`` (): True for instructions, False for captions; the losses do not depend on it."""
        return super().forward(**batch)


class JointTrainingTask(EncodingAlignmentTask):
    """Builds V2's core around the base language model: media in the first layers, static prompts in all others."""

    DEFAULTS: ClassVar[dict[str, Any]] = EncodingAlignmentTask.DEFAULTS | {
        "seed": 24,
        "kinds": ["describe"],  # of the captions
        "instruction_kinds": ["text_to_text", "talk"],
        "early_layers": 1,  # the paper: K of them see media and have no static prompts
        "static_tokens": 10,
        "prompts": {"media_tokens": 1, "keys": True},
        "input_projection": "",
        "input_projection_settings": {},
        "input_tokens": 1,
        "bias_tuning": {"scale": "output"},
        "lora": None,
    }
    output: ClassVar[str] = "core_joint"
    stage_model: ClassVar[type[StageModel]] = JointModel

    def load_core(self) -> AnyToAnyCore:
        self.settings["prompts"] = self._prompts()
        core = super().load_core()
        if self.settings["bias_tuning"] is not None:
            add_bias_tuning(core, self.settings["bias_tuning"])
        if self.settings["lora"] is not None:
            add_lora(core, lora_settings(self.settings["lora"]))
        return core

    def _prompts(self) -> dict[str, Any]:
        """Media in the first layers, static prompts in the rest."""
        from transformers import AutoConfig

        base = AutoConfig.from_pretrained(self.model_dir / "language_model", local_files_only=True)
        early = self.settings["early_layers"]
        if not 0 < early < base.num_hidden_layers:
            raise RecipeError(f"early_layers {early} must lie between 1 and {base.num_hidden_layers - 1}")
        own = {"media_layers": early, "static_layers": base.num_hidden_layers - early}
        return {**self.settings["prompts"], "static_tokens": self.settings["static_tokens"], **own}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """As every stage's, prompts and rows split by who moves them."""
        core, parts = self.model.core, super().parts()
        del parts["gated_prompts"], parts["added_rows"]
        named = dict(core.gated_prompts.named_parameters())
        late = [parameter for name, parameter in named.items() if name.startswith("static_")]
        early = [parameter for name, parameter in named.items() if not name.startswith("static_")]
        rows = {"placeholder_rows": [core.added_embedding], "signal_rows": [core.added_output]}
        return parts | {"early_prompts": early, "late_prompts": late} | rows

    def moved_by(self, batch: dict[str, torch.Tensor]) -> tuple[str, ...]:
        """The group of this batch's kind of data."""
        return INSTRUCTION_PARTS if bool(batch["instruction"]) else CAPTION_PARTS

    def bins(self, data: DialogueRows) -> Dataset:
        """Bins of captions, then bins of instructions; the engine's sampler shuffles them."""
        self.instructions = {id(row) for row in data.rows if self._instructs(row)}
        captions = self.binned([row for row in data.rows if id(row) not in self.instructions])
        instructions = self.binned([row for row in data.rows if id(row) in self.instructions])
        if not all(captions.bins) or not all(instructions.bins):
            raise RecipeError("joint training needs captions and instructions: data holds one of them alone")
        self.groups = [0] * len(captions) + [1] * len(instructions)
        return ConcatDataset([captions, instructions])

    def sample_groups(self) -> list[int]:
        """A step holds captions or instructions, however many batches and processes make it."""
        return self.groups

    def stream(self) -> Dataset:
        raise RecipeError("joint training tells captions from instructions before it begins: expected no streams")

    def collate(self, items: list[list[Row]]) -> dict[str, torch.Tensor]:
        kinds = {id(row) in self.instructions for item in items for row in item}
        if len(kinds) > 1:
            raise RecipeError("a batch holds captions and instructions: a step must hold one kind of data")
        return super().collate(items) | {"instruction": torch.tensor(kinds.pop())}

    def fits(self, row: Row, other: Row) -> bool:
        return super().fits(row, other) and (id(row) in self.instructions) == (id(other) in self.instructions)

    def _instructs(self, row: Row) -> bool:
        """By its kind in Toybox; elsewhere as its source says, or else when it is in words alone."""
        if row.source == TOYBOX:
            return row.kind in self.settings["instruction_kinds"]
        return not row.media if row.instruction is None else row.instruction

    def kinds(self) -> list[str]:
        """Captions and instructions."""
        return [*self.settings["kinds"], *self.settings["instruction_kinds"]]
