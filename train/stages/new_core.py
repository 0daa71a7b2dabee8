"""A new core around the base language model: its settings, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

import encoders
from data.modalities import MODALITIES
from encoders import Encoder
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
    input_features: str = setting(
        "pooled", choices=("pooled", "patches"), help="patches: for NExT-GPT's and LLaVA's projections"
    )
    input_projection: str = setting("mlp", help="name of an input projection; empty = none")
    input_projection_settings: dict[str, Any] = setting({"inner_width": 512, "input_scale": 16.0})
    input_tokens: int = setting(8, low=1, help="placeholders of a medium; of patches they follow from the projection")
    bind: dict[str, Any] = setting({"inner_width": 512, "blocks": 2, "input_scale": 16.0}, help="the bind network")
    visual: dict[str, Any] | None = setting(
        None, help="LLaMA-Adapter V2: images by CLIP's tower and these queries and blocks, no bind network"
    )
    prompts: dict[str, Any] = setting({"media_tokens": 1}, help="the gated prompts")
    output_projection: str = setting("transformer", help="name of an output projection")
    output_projection_settings: dict[str, Any] = setting(
        {"width": 128, "encoder_layers": 1, "decoder_layers": 2, "heads": 4, "feed_forward": 256}
    )
    conditions: dict[str, tuple[int, int]] = setting(
        {"image": (16, 128), "video": (16, 128), "audio": (1, 128)},
        low=1,
        help="what each decoder takes: length, width",
    )


def load_encoder(settings: CoreSettings, model_dir: Path) -> Encoder:
    """What reads media: the encoder, or CLIP's tower where the settings ask for visual prompts."""
    return encoders.load_encoder(model_dir / ("vision_tower" if settings.visual else "encoder"))


#: Settings that are fields of the core's configuration.
CORE_FIELDS = tuple(CoreSettings.__annotations__)


def build_core(settings: CoreSettings, model_dir: Path, encoder: Encoder, **changes: Any) -> AnyToAnyCore:
    """A core for the language model in ``model_dir`` and an encoder; ``changes`` replace settings."""
    base = model_dir / "language_model"
    changes = {"input_tokens": _input_tokens(settings, encoder), **changes}
    config = CoreConfig(
        text_config=AutoConfig.from_pretrained(base, local_files_only=True),
        first_added_token=len(AutoTokenizer.from_pretrained(model_dir / "tokenizer", local_files_only=True)),
        embedding_width=encoder.width,
        encoder_identity=encoder.identity,
        input_modalities=[
            *DEFAULT_INPUTS,
            *(m for m in encoder.modalities if m in MODALITIES and m not in DEFAULT_INPUTS),
        ],
        **{name: getattr(settings, name) for name in CORE_FIELDS} | changes,
    )
    return new_core(config, base)


def _input_tokens(settings: CoreSettings, encoder: Encoder) -> int | dict[str, int]:
    """Placeholders of a medium: as set, or of patches as many as the projection makes of them."""
    if settings.input_features == "pooled":
        return settings.input_tokens
    if settings.input_projection == "group":
        return settings.input_projection_settings.get("groups", [8])[-1]
    if settings.image_size:
        encoder.set_image_size(settings.image_size)
    return encoder.patch_counts()
