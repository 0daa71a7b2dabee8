"""Stage 1, encoding-side alignment: media prompts learn to describe media to a frozen language model (X -> T)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nextgpt_lite.config import CoreConfig
from nextgpt_lite.model import AnyToAnyCore
from train.settings import setting
from train.stages.dialogue_task import TOYBOX_KINDS, DialogueTask
from train.stages.new_core import CoreSettings, build_core, load_encoder


class EncodingAlignmentTask(DialogueTask):
    """Builds the core around the base language model and trains bind network, gates and placeholder rows."""

    @dataclass(frozen=True)
    class Settings(CoreSettings):
        kinds: list[str] = setting(
            ["describe", "ask", "count", "describe", "decline"],
            choices=TOYBOX_KINDS,
            help="of Toybox's dialogues, taken in turn",
        )

    settings: Settings
    output: ClassVar[str] = "core_encoding"

    def load_encoder(self) -> Any:
        return load_encoder(self.settings, self.model_dir)

    def load_core(self) -> AnyToAnyCore:
        return build_core(self.settings, self.model_dir, self.encoder)

    def load_decoders(self, config: CoreConfig) -> dict[str, Any]:
        """None: this stage reads media and writes words, so it can run before any decoder is trained."""
        return {}
