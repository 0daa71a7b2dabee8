"""Configuration of the core: language model, bind network, gated prompts, and the projections that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn
from transformers import AutoConfig, PretrainedConfig

from adapters import INPUT_PROJECTIONS, OUTPUT_PROJECTIONS, PATCH_PROJECTIONS
from data.modalities import MODALITIES
from data.strict import SettingsError, nearest, read_settings, setting
from nextgpt_lite.signal_tokens import DEFAULT_INPUTS, SignalTable


@dataclass(frozen=True)
class CoreFields:
    """Types and ranges of what ``core/config.json`` may hold besides transformers' own keys."""

    text_config: dict[str, Any]
    first_added_token: int = setting(0, low=0)
    input_modalities: tuple[str, ...] = DEFAULT_INPUTS
    signal_tokens: dict[str, int] | None = setting(None, low=1)
    embedding_width: int = setting(1024, low=1)
    encoder_identity: str = ""
    image_size: int = setting(0, low=0)
    input_features: str = setting("pooled", choices=("pooled", "patches"))
    input_projection: str = ""
    input_projection_settings: dict[str, Any] | None = None
    input_tokens: int | dict[str, int] = setting(1, low=1)
    bind: dict[str, Any] | None = None
    prompts: dict[str, Any] | None = None
    visual: dict[str, Any] | None = None
    bias_tuning: dict[str, Any] | None = None
    output_projection: str = setting("transformer", choices=tuple(OUTPUT_PROJECTIONS))
    output_projection_settings: dict[str, Any] | None = None
    conditions: dict[str, tuple[int, int]] | None = setting(None, low=1)
    lora: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        named = {"input_modalities": self.input_modalities, "signal_tokens": self.signal_tokens or ()}
        for key, names in {**named, "conditions": self.conditions or ()}.items():
            for name in names:
                if name not in MODALITIES:
                    raise ValueError(f"{key}: unknown modality {name!r}: expected one of {', '.join(MODALITIES)}")


class CoreConfig(PretrainedConfig):
    """What the core is made of.

    Args:
        text_config: configuration of the language model in the middle; any causal LM of transformers that
            dispatches its attention.
        first_added_token: id of the first placeholder or signal row, the size of the base tokenizer.
        input_modalities: media that come in, in the order of their placeholders' ids.
        signal_tokens: output modality -> number of signal tokens (NExT-GPT: 4, 24, 8).
        embedding_width: width of the encoder's unit embeddings and patch tokens.
        encoder_identity: hash of the encoder's weights, checked at loading.
        image_size: side in pixels at which the encoder sees images and videos; 0 = its own.
        input_features: what comes in of a medium: "pooled", one unit embedding, or "patches", its patch tokens.
        input_projection: name in adapters.INPUT_PROJECTIONS, or in adapters.PATCH_PROJECTIONS for patches, or ""
            where media enter through gated prompts alone.
        input_projection_settings: its settings besides the widths.
        input_tokens: placeholders of a medium, a number for all or one a modality.
        bind: settings of adapters.BindNetwork besides its widths.
        prompts: settings of adapters.GatedPrompts besides the language model's sizes.
        visual: settings of adapters.VisualPrompts besides the widths, or None; with it media come in as tokens of a
            vision tower, and VisualPrompts takes the place of the bind network.
        bias_tuning: settings of adapters.llama_adapter_v2.tune, or None; with it the norms are trained as well.
        output_projection: name in adapters.OUTPUT_PROJECTIONS.
        output_projection_settings: its settings.
        conditions: output modality -> shape (L, C) of the decoder's condition.
        lora: settings of peft.LoraConfig, or None.
    """

    model_type = "nextgpt_lite"
    sub_configs = {"text_config": AutoConfig}  # pyright: ignore[reportAssignmentType]  # as transformers sets it itself

    def __init__(
        self,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        first_added_token: int = 0,
        input_modalities: Sequence[str] = DEFAULT_INPUTS,
        signal_tokens: dict[str, int] | None = None,
        embedding_width: int = 1024,
        encoder_identity: str = "",
        image_size: int = 0,
        input_features: str = "pooled",
        input_projection: str = "",
        input_projection_settings: dict[str, Any] | None = None,
        input_tokens: int | dict[str, int] = 1,
        bind: dict[str, Any] | None = None,
        prompts: dict[str, Any] | None = None,
        visual: dict[str, Any] | None = None,
        bias_tuning: dict[str, Any] | None = None,
        output_projection: str = "transformer",
        output_projection_settings: dict[str, Any] | None = None,
        conditions: dict[str, list[int]] | None = None,
        lora: dict[str, Any] | None = None,
        **kwargs,
    ) -> None:
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config if text_config is not None else AutoConfig.for_model("llama")
        self.first_added_token = first_added_token
        self.input_modalities = list(input_modalities)
        self.signal_tokens = dict(signal_tokens or {"image": 4, "video": 24, "audio": 8})
        self.embedding_width = embedding_width
        self.encoder_identity = encoder_identity
        self.image_size = image_size
        self.input_features = input_features
        self.input_projection = input_projection
        self.input_projection_settings = dict(input_projection_settings or {})
        self.input_tokens = input_tokens
        self.bind: dict[str, Any] = dict(bind or {"inner_width": 16384, "blocks": 3})
        self.prompts = dict(prompts or {})
        self.visual = visual
        self.bias_tuning = bias_tuning
        self.output_projection = output_projection
        self.output_projection_settings = dict(output_projection_settings or {})
        self.conditions = {name: list(shape) for name, shape in (conditions or {}).items()}
        self.lora = lora
        super().__init__(**kwargs)

    @classmethod
    def read(cls, values: dict[str, Any], where: str) -> CoreConfig:
        """A configuration from JSON. SettingsError, which names ``where``, for an unknown key or a wrong value."""
        own = {field.name for field in fields(CoreFields)}
        foreign = PretrainedConfig().to_dict()
        for key in values:
            if key not in own and key not in foreign and not key.startswith("_"):
                raise SettingsError(f"{where}: unknown key {key!r}{nearest(key, own)}")
        read_settings(CoreFields, {key: value for key, value in values.items() if key in own}, where)
        return cls.from_dict(values)

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """Media that a reply may hold, in the order of their signal tokens' ids."""
        return tuple(self.signal_tokens)

    @property
    def vocab_size(self) -> int:
        """Base vocabulary plus added rows."""
        return self.first_added_token + len(self.table.names)

    @property
    def reads_patches(self) -> bool:
        """Whether a medium comes in as tokens, its patches or those of a vision tower, not as one unit embedding."""
        return bool(self.visual) or self.input_features == "patches"

    @property
    def features(self) -> str:
        """What the core reads of a medium: "patches" or "pooled"."""
        return "patches" if self.reads_patches else "pooled"

    @property
    def table(self) -> SignalTable:
        return SignalTable(self.first_added_token, self.signal_tokens, self.input_tokens, tuple(self.input_modalities))


def build_input_projection(config: CoreConfig) -> nn.Module | None:
    """The input projection that ``config`` names; None where media speak through gated prompts alone."""
    if not config.input_projection:
        return None
    by_features = {"pooled": INPUT_PROJECTIONS, "patches": PATCH_PROJECTIONS}
    kinds = _chosen("kind of input features", config.input_features, by_features)
    kind = _chosen("input projection", config.input_projection, kinds)
    if config.visual and config.input_features == "pooled":
        raise ValueError("with visual, media come in as tokens: expected input_features 'patches', not 'pooled'")
    widths = config.embedding_width, config.text_config.hidden_size
    if config.input_features == "pooled":
        return kind(*widths, config.input_tokens, **config.input_projection_settings)
    projection = kind(*widths, **config.input_projection_settings)
    if projection.tokens not in (None, config.input_tokens):
        raise ValueError(
            f"input projection {config.input_projection!r} gives {projection.tokens} tokens a medium, "
            f"input_tokens is {config.input_tokens}"
        )
    return projection


def build_output_projections(config: CoreConfig) -> dict[str, nn.Module]:
    """The output projection of each output modality."""
    kind = _chosen("output projection", config.output_projection, OUTPUT_PROJECTIONS)
    made = {}
    for modality, shape in config.conditions.items():
        settings = dict(config.output_projection_settings)
        if config.output_projection == "linear":
            settings["signal_tokens"] = config.signal_tokens[modality]
        made[modality] = kind(config.text_config.hidden_size, (shape[0], shape[1]), **settings)
    return made


def _chosen(what: str, name: str, kinds: dict[str, Any]) -> Any:
    if name not in kinds:
        raise ValueError(f"unknown {what} {name!r}: expected one of {', '.join(kinds)}")
    return kinds[name]
