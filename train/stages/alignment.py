"""Stages 1 and 2, alignment of both sides: media prompts describe media (X -> T), signal tokens speak to decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nextgpt_lite.checkpoint import add_lora, load_core
from nextgpt_lite.model import AnyToAnyCore
from train.engine.lora import lora_settings
from train.settings import setting
from train.stages.dialogue_task import TOYBOX_KINDS, DialogueTask
from train.stages.new_core import CoreSettings, NewCoreTask


class EncodingAlignmentTask(NewCoreTask):
    """Builds the core around the frozen base language model and trains bind network, gates and placeholder rows."""

    @dataclass(frozen=True)
    class Settings(CoreSettings):
        kinds: list[str] = setting(
            ["describe", "ask", "count", "describe", "decline"], choices=TOYBOX_KINDS, help="of Toybox, taken in turn"
        )

    settings: Settings
    output: ClassVar[str] = "core_encoding"


class DecodingAlignmentTask(DialogueTask):
    """Trains signal rows and output projections to what the decoders' text encoders give for the caption (T -> X).

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
