"""Stage 2, decoding-side alignment: signal tokens and output projections learn to speak to the decoders (T -> X)."""

from __future__ import annotations

from typing import Any, ClassVar

from nextgpt_lite.checkpoint import CheckpointError, add_lora, load_core
from nextgpt_lite.model import AnyToAnyCore
from train.engine.tuning import lora_settings
from train.stages.dialogue_task import DialogueTask


class DecodingAlignmentTask(DialogueTask):
    """Trains signal rows and output projections to what the decoders' text encoders give for the caption.

    In the paper the language model is frozen. A small one has no heads to spare that would carry what a sentence says
    to the signal tokens after it: with ``lora`` (settings of peft.LoraConfig) it learns to, stage 3 goes on from there.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = DialogueTask.DEFAULTS | {"kinds": ["generate"], "seed": 22, "lora": None}
    output: ClassVar[str] = "core_decoding"

    def load_core(self) -> AnyToAnyCore:
        core = load_core(self.model_dir / "core_encoding", self.model_dir / "language_model")
        if self.settings["lora"]:
            add_lora(core, lora_settings(self.settings["lora"]))
        self.decoders = {m: decoder for m, decoder in self.decoders.items() if m in core.config.conditions}
        for modality, decoder in self.decoders.items():
            expected = tuple(core.config.conditions[modality])
            if tuple(decoder.condition_shape) != expected:
                found = tuple(decoder.condition_shape)
                raise CheckpointError(f"the {modality} decoder takes conditions {found}, the core makes {expected}")
        return core
