"""Stage 1, encoding-side alignment: media prompts learn to tell a frozen language model what is there (X -> T)."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, AutoTokenizer

from nextgpt_lite.checkpoint import new_core
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.model import AnyToAnyCore
from train.stages.dialogue_task import DialogueTask


class EncodingAlignmentTask(DialogueTask):
    """Builds the core around the base language model and trains bind network, gates and placeholder rows."""

    DEFAULTS: ClassVar[dict[str, Any]] = DialogueTask.DEFAULTS | {
        "kinds": ["describe", "ask", "count", "describe", "decline"],
        "signal_tokens": {"image": 8, "video": 8, "audio": 4},  # one for each word of a tag caption
        "image_size": 0,  # side in pixels at which pictures are seen; 0 = the encoder's own
        "input_features": "pooled",  # or "patches": NExT-GPT's and LLaVA's projections, input_tokens then follows
        "input_projection": "mlp",
        "input_projection_settings": {"inner_width": 512, "input_scale": 16.0},
        "input_tokens": 8,
        "bind": {"inner_width": 512, "blocks": 2, "input_scale": 16.0},
        "visual": None,  # LLaMA-Adapter V2: pictures by CLIP's tower and these queries and blocks, no bind network
        "prompts": {"media_tokens": 1},
        "output_projection": "transformer",
        "output_projection_settings": {
            "width": 128, "encoder_layers": 1, "decoder_layers": 2, "heads": 4, "feed_forward": 256,
        },
        "conditions": {"image": [16, 128], "video": [16, 128], "audio": [1, 128]},
    }  # fmt: skip
    output: ClassVar[str] = "core_encoding"
    #: Settings that are fields of the core's configuration.
    SHAPE: ClassVar[tuple[str, ...]] = (
        "signal_tokens", "image_size", "input_features", "input_projection", "input_projection_settings",
        "input_tokens", "bind", "visual", "prompts", "output_projection", "output_projection_settings", "conditions",
    )  # fmt: skip

    def load_decoders(self) -> dict[str, Any]:
        """None: this stage reads media and writes words, so it can run before any decoder is trained."""
        return {}

    def input_tokens(self) -> int | dict[str, int]:
        """Placeholders of a medium: as set, or of patches as many as the projection makes of them."""
        chosen = self.settings
        if chosen["input_features"] == "pooled":
            return chosen["input_tokens"]
        if chosen["input_projection"] == "group":
            return chosen["input_projection_settings"].get("groups", [8])[-1]
        if chosen["image_size"]:
            self.encoder.set_image_size(chosen["image_size"])
        return self.encoder.patch_counts()

    def load_core(self) -> AnyToAnyCore:
        base = self.model_dir / "language_model"
        chosen = self.settings | {"input_tokens": self.input_tokens()}
        config = CoreConfig(
            text_config=AutoConfig.from_pretrained(base, local_files_only=True),
            first_added_token=len(AutoTokenizer.from_pretrained(self.model_dir / "tokenizer", local_files_only=True)),
            embedding_width=self.encoder.width,
            encoder_identity=self.encoder.identity,
            **{name: chosen[name] for name in self.SHAPE},
        )
        return new_core(config, base)
