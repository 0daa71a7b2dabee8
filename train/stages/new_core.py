"""A new core around the base language model: its settings, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from data.modalities import MODALITIES
from encoders import Encoder, load_encoder
from nextgpt_lite.checkpoint import new_core
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.signal_tokens import DEFAULT_INPUTS
from train.settings import setting
from train.stages.dialogue_task import DialogueTask


@dataclass(frozen=True)
class CoreSettings(DialogueTask.Settings):
    """The settings of a stage that builds a core; those of this class are fields of CoreConfig."""

    signal_tokens: dict[str, int] = setting(
        {"image": 8, "video": 8, "audio": 4}, low=1, help="of each output modality: one for each word of a tag caption"
    )
    image_size: int = setting(0, low=0, help="side in pixels at which images are seen; 0 = the encoder's own")
    input_features: str = setting("pooled", choices=("pooled", "patches"), help="patches: as NExT-GPT and LLaVA")
    input_projection: str = setting("mlp", help="name of an input projection; empty = none")
    input_projection_settings: dict[str, Any] = setting({"inner_width": 512, "input_scale": 16.0})
    input_tokens: int = setting(8, low=1, help="placeholders of a medium; of patches they follow from the projection")
    bind: dict[str, Any] = setting({"inner_width": 512, "blocks": 2, "input_scale": 16.0}, help="the bind network")
    visual: dict[str, Any] | None = setting(None, help="LLaMA-Adapter V2's visual prompts, on CLIP's tower; no bind")
    prompts: dict[str, Any] = setting({"media_tokens": 1}, help="the gated prompts")
    output_projection: str = setting("transformer", help="name of an output projection")
    output_projection_settings: dict[str, Any] = setting(
        {"width": 128, "encoder_layers": 1, "decoder_layers": 2, "heads": 4, "feed_forward": 256}
    )
    conditions: dict[str, tuple[int, int]] = setting(
        {"image": (16, 128), "video": (16, 128), "audio": (1, 128)}, low=1, help="length and width of each decoder's"
    )


class NewCoreTask(DialogueTask):
    """A stage that builds its core around the base language model, reads media and writes words alone."""

    Settings = CoreSettings
    settings: CoreSettings

    def load_encoder(self) -> Encoder:
        """The encoder, or CLIP's tower where the settings ask for visual prompts."""
        return load_encoder(self.model_dir / ("vision_tower" if self.settings.visual else "encoder"))

    def load_decoders(self, config: CoreConfig) -> dict[str, Any]:
        """None: nothing but words is written, so this stage can run before any decoder is trained."""
        return {}

    def load_core(self, **changes: Any) -> AnyToAnyCore:
        """A core for the language model and the encoder; ``changes`` replace settings."""
        base, tokenizer = self.model_dir / "language_model", self.model_dir / "tokenizer"
        own = {name: getattr(self.settings, name) for name in CoreSettings.__annotations__}
        more = [name for name in self.encoder.modalities if name in MODALITIES and name not in DEFAULT_INPUTS]
        config = CoreConfig(
            text_config=AutoConfig.from_pretrained(base, local_files_only=True),
            first_added_token=len(AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)),
            embedding_width=self.encoder.width,
            encoder_identity=self.encoder.identity,
            input_modalities=[*DEFAULT_INPUTS, *more],
            **own | {"input_tokens": self._input_tokens(), **changes},
        )
        return new_core(config, base)

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
