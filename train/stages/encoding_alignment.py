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
        "signal_tokens": {"image": 4, "video": 4, "audio": 4},
        "bind": {"inner_width": 512, "blocks": 2, "input_scale": 16.0},
        "prompts": {"media_tokens": 1},
        "output_projection": "transformer",
        "output_projection_settings": {
            "width": 128, "encoder_layers": 1, "decoder_layers": 2, "heads": 4, "feed_forward": 256,
        },
        "conditions": {"image": [16, 128], "video": [16, 128], "audio": [1, 128]},
    }  # fmt: skip
    output: ClassVar[str] = "core_encoding"

    def load_decoders(self) -> dict[str, Any]:
        """None: this stage reads media and writes words, so it can run before any decoder is trained."""
        return {}

    def load_core(self) -> AnyToAnyCore:
        base = self.model_dir / "language_model"
        chosen = self.settings
        config = CoreConfig(
            text_config=AutoConfig.from_pretrained(base, local_files_only=True),
            first_added_token=len(AutoTokenizer.from_pretrained(self.model_dir / "tokenizer", local_files_only=True)),
            embedding_width=self.encoder.width,
            encoder_identity=self.encoder.identity,
            **{k: chosen[k] for k in ("signal_tokens", "bind", "prompts", "output_projection", "conditions")},
            output_projection_settings=chosen["output_projection_settings"],
        )
        return new_core(config, base)
