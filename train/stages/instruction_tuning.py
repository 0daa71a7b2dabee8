"""Stage 3, modality-switching instruction tuning (MosIT): LoRA and all projections, on dialogues of every kind.

LLaVA's second stage is the same with another start and other rates: see the recipes ``llava_*``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from nextgpt_lite.checkpoint import add_lora, load_core, save_language_model
from nextgpt_lite.model import AnyToAnyCore
from train.engine.tuning import TUNINGS, check_tuning, lora_settings
from train.recipe import RecipeError
from train.stages.dialogue_task import DialogueTask


class InstructionTuningTask(DialogueTask):
    """Adds LoRA, unless an earlier stage did, or trains the whole language model; with it all that lies around it."""

    DEFAULTS: ClassVar[dict[str, Any]] = DialogueTask.DEFAULTS | {
        "seed": 23,
        "dialogues": 40_000,
        "start": "core_decoding",  # folder in the model folder of the core to go on from
        "tuning": "lora",  # "lora", "qlora" (the base in 4 bits) or "full" (no LoRA, the base itself)
        "lora": {
            "r": 32,
            "lora_dropout": 0.0,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        },
    }
    output: ClassVar[str] = "core"

    def load_core(self) -> AnyToAnyCore:
        has_lora, quantised = TUNINGS[check_tuning(self.settings["tuning"])]
        folder = self.model_dir / self.settings["start"]
        core = load_core(folder, self.model_dir / "language_model", quantised)
        if not has_lora and core.config.lora is not None:
            raise RecipeError(f"tuning 'full': {folder.name} has LoRA already, expected a core without to start from")
        if has_lora and core.config.lora is None:
            add_lora(core, lora_settings(self.settings["lora"]))
        return core

    def load_decoders(self) -> dict[str, Any]:
        """None where the core to start from answers in words alone."""
        config = json.loads((self.model_dir / self.settings["start"] / "config.json").read_text(encoding="utf-8"))
        return super().load_decoders() if config["conditions"] else {}

    def export(self, model_dir: Path) -> None:
        """Write the core; fully tuned, the language model too (fp16), in place of the one that it started from."""
        if self.settings["tuning"] == "full":
            save_language_model(self.model.core, Path(model_dir) / "language_model")
        super().export(model_dir)
