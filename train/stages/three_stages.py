"""The three stages of NExT-GPT (2309.05519, Secs. 4 and 5): alignment of both sides, then instruction tuning.

LLaVA's second stage is the third one with another start and other rates: see the recipes ``llava_*``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data.atomic import hash_folder
from data.modalities import MODALITIES
from nextgpt_lite.config import SIGNALS, CoreConfig
from nextgpt_lite.core_checkpoint import (
    CONTEXT_ADAPTER,
    add_lora,
    new_core,
    read_core_config,
    save_language_model,
)
from nextgpt_lite.language_models import read_config, read_tokenizer
from nextgpt_lite.long_context.merge import set_positions
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.signal_tokens import DEFAULT_INPUTS
from train.dialogues.targets import whole_decoders
from train.engine.lora import LINEAR, TUNINGS, lora_settings
from train.settings import RecipeError, setting
from train.stages.dialogue_task import TOYBOX_KINDS, DialogueTask

OUTPUT_PROJECTION = {"width": 128, "encoder_layers": 1, "decoder_layers": 2, "heads": 4, "feed_forward": 256}
CONDITIONS = {"image": (16, 128), "video": (16, 128), "audio": (1, 128)}


@dataclass(frozen=True)
class CoreSettings(DialogueTask.Settings):
    """The settings of a stage that builds a core; those of this class are fields of CoreConfig,
    but for ``extended``."""

    signal_tokens: dict[str, int] = setting({"image": 8, "video": 8, "audio": 4}, low=1, help="one per caption word")
    image_size: int = setting(0, low=0, help="side in pixels at which images are seen; 0 = the encoder's own")
    input_features: str = setting("pooled", choices=("pooled", "patches"), help="patches: as NExT-GPT and LLaVA")
    input_projection: str = setting("mlp", help="name of an input projection; empty = none")
    input_projection_settings: dict[str, Any] = setting({"inner_width": 512, "input_scale": 16.0})
    input_tokens: int = setting(8, low=1, help="placeholders of a medium; of patches they follow from the projection")
    bind: dict[str, Any] = setting({"inner_width": 512, "blocks": 2, "input_scale": 16.0}, help="the bind network")
    visual: dict[str, Any] | None = setting(None, help="LLaMA-Adapter V2's visual prompts, on CLIP's tower; no bind")
    prompts: dict[str, Any] = setting({"media_tokens": 1}, help="the gated prompts")
    output_projection: str = setting("transformer", help="name of an output projection")
    output_projection_settings: dict[str, Any] = setting(OUTPUT_PROJECTION)
    conditions: dict[str, tuple[int, int]] | None = setting(
        CONDITIONS, low=1, help="length and width of each decoder's; null = of the decoders in the model's folder"
    )
    trained_length: int = setting(0, low=0, help="tokens of the longest history; 0 = the base's context")
    extended: bool = setting(False, help="read the base with the model's context_adapter (stage 0), now and ever after")


class NewCoreTask(DialogueTask):
    """A stage that builds its core around the base language model, reads media and writes words alone."""

    Settings = CoreSettings
    settings: CoreSettings

    def has_visual_prompts(self) -> bool:
        return bool(self.settings.visual)

    def makes_media(self) -> bool:
        """No: nothing but words is written, so this stage can run before any decoder is trained."""
        return False

    def load_core(self) -> AnyToAnyCore:
        """A fresh core for the language model and the encoder."""
        adapter = self.model_dir / CONTEXT_ADAPTER if self.settings.extended else None
        return new_core(self.core_config(), self.model_dir / "language_model", self.precision(), adapter)

    def core_config(self, **changes: Any) -> CoreConfig:
        """That of a core for the language model and the encoder; ``changes`` replace settings."""
        tokenizer = self.model_dir / "tokenizer"
        text_config = read_config(self.model_dir / "language_model")
        own = {name: getattr(self.settings, name) for name in CoreSettings.__annotations__}
        adapter = self.model_dir / CONTEXT_ADAPTER
        if own.pop("extended"):
            if not adapter.is_dir():
                raise RecipeError(
                    f"extended is true, and there is no {adapter}: run the recipe context_extension first"
                )
            set_positions(text_config, adapter, length=None, scaling="", required=True)
            changes["context_adapter"] = hash_folder(adapter)
        more = [name for name in self.encoder.modalities if name in MODALITIES and name not in DEFAULT_INPUTS]
        if self.settings.conditions is None:
            changes = self._of_decoders() | changes
        return CoreConfig(
            text_config=text_config,
            first_added_token=len(read_tokenizer(tokenizer)),
            embedding_width=self.encoder.width,
            encoder_identity=self.encoder.identity,
            input_modalities=[*DEFAULT_INPUTS, *more],
            **own | {"input_tokens": self._input_tokens(), **changes},
        )

    def condition_shapes(self) -> dict[str, tuple[int, int]]:
        """Conditions of the decoders that lie in the model's folder."""
        return {name: decoder.condition_shape for name, decoder in whole_decoders(self.model_dir).items()}

    def _of_decoders(self) -> dict[str, Any]:
        """Conditions and signal tokens of the decoders that lie in the model's folder."""
        conditions = self.condition_shapes()
        tokens = SIGNALS | self.settings.signal_tokens
        return {"conditions": conditions, "signal_tokens": {name: tokens.get(name, 4) for name in conditions}}

    def _input_tokens(self) -> int | dict[str, int]:
        """Placeholders of a medium: as set, or of patches as many as the projection makes of them."""
        chosen = self.settings
        if chosen.input_features == "pooled":
            return chosen.input_tokens
        if chosen.input_projection == "group":
            return chosen.input_projection_settings.get("groups", [8])[-1]
        if chosen.image_size:
            self.encoder.set_image_size(chosen.image_size)
        return self.encoder.patch_counts()


class EncodingAlignmentTask(NewCoreTask):
    """Stage 1 (X -> T): builds the core around the frozen base; trains bind network, gates and placeholder rows."""

    @dataclass(frozen=True)
    class Settings(CoreSettings):
        kinds: list[str] = setting(
            ["describe", "ask", "count", "describe", "decline"], choices=TOYBOX_KINDS, help="of Toybox, taken in turn"
        )

    settings: Settings
    output: ClassVar[str] = "core_encoding"


class LaterTask(DialogueTask):
    """A stage that goes on from the core that an earlier one left in the folder ``start`` of the model."""

    start: str

    def has_visual_prompts(self) -> bool:
        return bool(self.core_config().visual)

    def core_config(self) -> CoreConfig:
        return read_core_config(self.model_dir / self.start)

    def load_core(self) -> AnyToAnyCore:
        return self.trained_core(self.start)


class DecodingAlignmentTask(LaterTask):
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
    start = "core_encoding"

    def tune(self, core: AnyToAnyCore) -> None:
        if self.settings.lora:
            add_lora(core, lora_settings(self.settings.lora))


class InstructionTuningTask(LaterTask):
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

    @property
    def start(self) -> str:
        return self.settings.start

    def precision(self) -> str:
        return "int4" if self.settings.tuning == "qlora" else super().precision()

    def tune(self, core: AnyToAnyCore) -> None:
        has_lora = self.settings.tuning != "full"
        if not has_lora and core.config.lora is not None:
            raise RecipeError(f"tuning 'full': {self.start} has LoRA already, expected a core without to start from")
        if has_lora and core.config.lora is None:
            add_lora(core, lora_settings(self.settings.lora))

    def tunes_pretrained(self) -> bool:
        return self.settings.tuning == "full" or super().tunes_pretrained()

    def export(self, model_dir: Path) -> None:
        """Write the core; fully tuned, the language model too, a context adapter merged into it."""
        if self.settings.tuning == "full":
            dtype: Any = read_config(self.model_dir / "language_model").dtype
            save_language_model(self.model.core, Path(model_dir) / "language_model", dtype)
            self.model.core.config.context_adapter = ""
        super().export(model_dir)
