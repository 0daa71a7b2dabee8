"""Stage 3, modality-switching instruction tuning (MosIT): LoRA and all projections, on dialogues of every kind."""

from __future__ import annotations

from typing import Any, ClassVar

from nextgpt_lite.checkpoint import add_lora, load_core
from nextgpt_lite.model import AnyToAnyCore
from train.stages.dialogue_task import DialogueTask


class InstructionTuningTask(DialogueTask):
    """Adds LoRA, unless stage 2 did, and trains it with bind network, gates, rows and both kinds of projections."""

    DEFAULTS: ClassVar[dict[str, Any]] = DialogueTask.DEFAULTS | {
        "seed": 23,
        "dialogues": 40_000,
        "start": "core_decoding",  # folder in the model folder of the core to start from
        "lora": {
            "r": 32,
            "lora_alpha": 64,
            "lora_dropout": 0.0,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        },
    }
    output: ClassVar[str] = "core"

    def load_core(self) -> AnyToAnyCore:
        core = load_core(self.model_dir / self.settings["start"], self.model_dir / "language_model")
        if core.config.lora is None:
            add_lora(core, self.settings["lora"])
        return core
