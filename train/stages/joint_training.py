"""Joint training of LLaMA-Adapter V2 (2304.15010, Sec. 4.2): two kinds of data, two disjoint groups of parameters.

Captions train what brings an image in: its projection and the early layers' gates. Instructions train what follows
instructions: the late layers' prompts and gates, norms, biases and scales (or LoRA). A step sees one kind of data, and
the other group keeps its values, so that neither overwrites what the other has learnt.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset

from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_bias_tuning, add_lora
from nextgpt_lite.language_models import read_config
from nextgpt_lite.model import AnyToAnyCore
from train.dialogues.encode import Row
from train.dialogues.loader import Candidates
from train.dialogues.records import TOYBOX
from train.engine.lora import lora_settings
from train.settings import RecipeError, setting
from train.stages.dialogue_task import TOYBOX_KINDS
from train.stages.three_stages import CoreSettings, NewCoreTask

#: Parts that captions train, and parts that instructions train: no part is in both.
CAPTION_PARTS = ("visual_prompts", "bind_network", "input_projection", "early_prompts", "placeholder_rows")
INSTRUCTION_PARTS = ("late_prompts", "bias_tuning", "lora", "signal_rows")


class JointTrainingTask(NewCoreTask):
    """Builds V2's core around the base language model: media in the first layers, static prompts in all others."""

    @dataclass(frozen=True)
    class Settings(CoreSettings):
        seed: int = setting(24, low=0)
        kinds: list[str] = setting(["describe"], choices=TOYBOX_KINDS, help="of the captions")
        instruction_kinds: list[str] = setting(["text_to_text", "talk"], choices=TOYBOX_KINDS, help="of instructions")
        disjoint: bool = setting(True, help="each kind of data trains parts of its own; false: both train all")
        fusion: str = setting("early", choices=("early", "late"), help="late: media are added to the static prompts")
        early_layers: int = setting(1, help="the paper's K: they see media and have no static prompts")
        static_tokens: int = setting(10, low=0, help="static prompts of each late layer")
        prompts: dict[str, Any] = setting({"media_tokens": 1, "keys": True}, help="the gated prompts")
        input_projection: str = setting("", help="name of an input projection; empty = none")
        input_projection_settings: dict[str, Any] = setting({})
        input_tokens: int = setting(1, low=1, help="placeholders of a medium")
        bias_tuning: dict[str, Any] | None = setting({"scale": "output"}, help="norms, biases and scales; null = none")
        lora: dict[str, Any] | None = setting(None, help="of peft.LoraConfig; null = none")

    settings: Settings
    output: ClassVar[str] = "core_joint"

    def core_config(self, **changes: Any) -> CoreConfig:
        return super().core_config(prompts=self._prompts(), **changes)

    def tune(self, core: AnyToAnyCore) -> None:
        if self.settings.bias_tuning is not None:
            add_bias_tuning(core, self.settings.bias_tuning)
        if self.settings.lora is not None:
            add_lora(core, lora_settings(self.settings.lora))

    def _prompts(self) -> dict[str, Any]:
        """Media in the first layers, static prompts in the rest; in late fusion media are added to these, as in V1."""
        base = read_config(self.model_dir / "language_model")
        early, layers = self.settings.early_layers, base.num_hidden_layers
        if not 0 < early < layers:
            raise RecipeError(f"early_layers {early} must lie between 1 and {layers - 1}")
        static = {"static_tokens": self.settings.static_tokens, "static_layers": layers - early}
        if self.settings.fusion == "late":
            return {**self.settings.prompts, **static, "media_tokens": 0, "media_added": True}
        return {**self.settings.prompts, **static, "media_layers": early}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """As every stage's, prompts and rows split by the kind of data that trains them."""
        core, parts = self.model.core, super().parts()
        del parts["gated_prompts"], parts["added_rows"]
        parts |= {"early_prompts": [], "late_prompts": []}
        for name, parameter in core.gated_prompts.named_parameters():
            parts["late_prompts" if name.startswith("static_") else "early_prompts"].append(parameter)
        return parts | {"placeholder_rows": [core.added_embedding], "signal_rows": [core.added_output]}

    def trainable_parts(self, batch: dict[str, torch.Tensor]) -> tuple[str, ...] | None:
        """The group of this batch's kind of data; of groups that are not disjoint all parts."""
        if not self.settings.disjoint:
            return None
        return INSTRUCTION_PARTS if bool(batch["instruction"]) else CAPTION_PARTS

    def kinds(self) -> list[str]:
        """Captions and instructions."""
        return [*self.settings.kinds, *self.settings.instruction_kinds]

    def dataset_of(self, rows: list[Row] | None) -> Dataset:
        """Bins of captions, then bins of instructions; the engine's sampler shuffles them."""
        if rows is None:
            raise RecipeError("joint training must know captions and instructions beforehand: expected no streams")
        captions = self.binned([row for row in rows if not self.is_instruction(row)])
        instructions = self.binned([row for row in rows if self.is_instruction(row)])
        if not all(captions.bins) or not all(instructions.bins):
            raise RecipeError("joint training needs captions and instructions: data holds one of them alone")
        self.groups = [0] * len(captions) + [1] * len(instructions)
        return ConcatDataset([captions, instructions])

    def sample_groups(self) -> list[int]:
        """A step holds captions or instructions, however many batches and processes make it."""
        return self.groups

    def fits(self, row: Row, other: Row) -> bool:
        return super().fits(row, other) and self.is_instruction(row) == self.is_instruction(other)

    def make_batch(self, rows: list[Row], candidates: Candidates) -> dict[str, torch.Tensor]:
        kinds = {self.is_instruction(row) for row in rows}
        if len(kinds) > 1:
            raise RecipeError("a batch holds captions and instructions: a step must hold one kind of data")
        return super().make_batch(rows, candidates) | {"instruction": torch.tensor(kinds.pop())}

    def is_instruction(self, row: Row) -> bool:
        """By its kind in Toybox; elsewhere as its source says, or else when it is in words alone."""
        if row.source == TOYBOX:
            return row.kind in self.settings.instruction_kinds
        return not row.media if row.instruction is None else row.instruction
