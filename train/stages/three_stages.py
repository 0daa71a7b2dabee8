"""The three stages of NExT-GPT (2309.05519, Secs. 4 and 5): alignment of both sides, then instruction tuning.

LLaVA's second stage is the third one with another start and other rates: see the recipes ``llava_*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nextgpt_lite.checkpoint import add_lora, load_core, save_language_model
from nextgpt_lite.model import AnyToAnyCore
from train.engine.lora import LINEAR, TUNINGS, lora_settings
from train.settings import RecipeError, setting
from train.stages.dialogue_task import TOYBOX_KINDS, DialogueTask
from train.stages.new_core import CoreSettings, NewCoreTask


class EncodingAlignmentTask(NewCoreTask):
    """Stage 1 (X -> T): builds the core around the frozen base; trains bind network, gates and placeholder rows."""

    @dataclass(frozen=True)
    class Settings(CoreSettings):
        kinds: list[str] = setting(
            ["describe", "ask", "count", "describe", "decline"], choices=TOYBOX_KINDS, help="of Toybox, taken in turn"
        )

    settings: Settings
    output: ClassVar[str] = "core_encoding"


class DecodingAlignmentTask(DialogueTask):
    """Stage 2 (T -> X): trains signal rows and output projections to what the decoders' text encoders give.

    In the paper the language model is frozen. A small one has no heads to spare that would carry what a sentence says
    to the signal tokens after it: with ``lora`` (settings of peft.LoraConfig) it learns to, stage 3 goes on from there.
    """

    @dataclass(frozen=True)
    class Settings(DialogueTask.Settings):
        seed: int = setting(22, low=0)
        kinds: list[str] = setting(["generate"], choices=TOYBOX_KINDS, help="of Toybox's dialogues, taken in turn")
        lora: dict[str, Any] | None = setting(None, help="of peft.LoraConfig; none = the language model is frozen")

    settings: Settings
    output: ClassVar[str] = "core_decoding"

    def load_core(self) -> AnyToAnyCore:
        core = load_core(self.model_dir / "core_encoding", self.model_dir / "language_model")
        if self.settings.lora:
            add_lora(core, lora_settings(self.settings.lora))
        return core


class InstructionTuningTask(DialogueTask):
    """Stage 3, modality-switching instruction tuning (MosIT), on dialogues of every kind.

    Adds LoRA, unless an earlier stage did, or trains the whole language model; with it all that lies around it.
    """

    @dataclass(frozen=True)
    class Settings(DialogueTask.Settings):
        seed: int = setting(23, low=0)
        dialogues: int = setting(40_000, low=1, help="of Toybox")
        start: str = setting("core_decoding", help="folder in the model folder of the core to go on from")
        tuning: str = setting("lora", choices=TUNINGS, help="qlora: the base in 4 bits; full: no LoRA, the base itself")
        lora: dict[str, Any] = setting({"r": 32, "lora_dropout": 0.0, "target_modules": list(LINEAR)}, help="of peft")

    settings: Settings

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
