"""Stage 3, modality-switching instruction tuning (MosIT): LoRA and all projections, on dialogues of every kind.

LLaVA's second stage is the same with another start and other rates: see the recipes ``llava_*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nextgpt_lite.checkpoint import add_lora, load_core, save_language_model
from nextgpt_lite.model import AnyToAnyCore
from train.engine.lora import LINEAR, TUNINGS, lora_settings
from train.settings import RecipeError, setting
from train.stages.dialogue_task import DialogueTask


class InstructionTuningTask(DialogueTask):
    """Adds LoRA, unless an earlier stage did, or trains the whole language model; with it all that lies around it."""

    @dataclass(frozen=True)
    class Settings(DialogueTask.Settings):
        seed: int = setting(23, low=0)
        dialogues: int = setting(40_000, low=1, help="of Toybox")
        start: str = setting("core_decoding", help="folder in the model folder of the core to go on from")
        tuning: str = setting("lora", choices=TUNINGS, help="qlora: the base in 4 bits; full: no LoRA, the base itself")
        lora: dict[str, Any] = setting(
            {"r": 32, "lora_dropout": 0.0, "target_modules": list(LINEAR)}, help="of peft.LoraConfig"
        )

    settings: Settings
    output: ClassVar[str] = "core"

    def load_core(self) -> AnyToAnyCore:
        has_lora, quantised = TUNINGS[self.settings.tuning]
        folder = self.model_dir / self.settings.start
        core = load_core(folder, self.model_dir / "language_model", quantised)
        if not has_lora and core.config.lora is not None:
            raise RecipeError(f"tuning 'full': {folder.name} has LoRA already, expected a core without to start from")
        if has_lora and core.config.lora is None:
            add_lora(core, lora_settings(self.settings.lora))
        return core

    def export(self, model_dir: Path) -> None:
        """Write the core; fully tuned, the language model too (fp16), in place of the one that it started from."""
        if self.settings.tuning == "full":
            save_language_model(self.model.core, Path(model_dir) / "language_model")
        super().export(model_dir)
