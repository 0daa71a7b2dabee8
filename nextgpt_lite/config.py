"""Configuration of the core: language model, bind network, gated prompts, and the projections that it names."""

from dataclasses import dataclass, fields
from typing import Any, Self

from torch import nn
from transformers import PretrainedConfig

from adapters import INPUT_PROJECTIONS, OUTPUT_PROJECTIONS, PATCH_PROJECTIONS
from data.modalities import MODALITIES
from data.strict import SettingsError, construct, nearest, read_settings, setting
from nextgpt_lite.signal_tokens import DEFAULT_INPUTS, SignalTable

#: Signal tokens of each output modality (NExT-GPT), and settings of the bind network (ImageBind-LLM).
SIGNALS, BIND = {"image": 4, "video": 24, "audio": 8}, {"inner_width": 16384, "blocks": 3}


@dataclass(kw_only=True)
class CoreFields:
    """What ``core/config.json`` may hold besides transformers' own keys."""

    text_config: dict[str, Any] = setting(help="of the language model, a causal LM that dispatches its attention")
    first_added_token: int = setting(0, low=0, help="id of the first placeholder or signal row: the base's vocabulary")
    input_modalities: list[str] = setting(list(DEFAULT_INPUTS), help="media that come in, in the order of their ids")
    signal_tokens: dict[str, int] = setting(SIGNALS, low=1, help="output modality -> number of signal tokens")
    embedding_width: int = setting(1024, low=1, help="of the encoder's unit embeddings and patch tokens")
    encoder_identity: str = setting("", help="hash of the encoder's weights, checked at loading")
    language_model_identity: dict[str, float] = setting({}, help="a few of its weights by name; empty = not known")
    context_adapter: str = setting("", help="hash of the context adapter (stage 0) below it; empty = none")
    image_size: int = setting(0, low=0, help="side in pixels at which the encoder sees images and videos; 0 = its own")
    input_features: str = setting(
        "pooled", choices=("pooled", "patches"), help="of a medium: one unit embedding, or its patch tokens"
    )
    input_projection: str = setting(
        "", help="name in adapters.INPUT_PROJECTIONS or, for patches, PATCH_PROJECTIONS; empty = gated prompts alone"
    )
    input_projection_settings: dict[str, Any] = setting({}, help="its settings besides the widths")
    input_tokens: int | dict[str, int] = setting(
        1, low=0, help="placeholders of a medium: for all, or one a modality; 0 = whole rows see media (prompts.reach)"
    )
    bind: dict[str, Any] = setting(BIND, help="settings of adapters.BindNetwork besides its widths")
    prompts: dict[str, Any] = setting({}, help="settings of adapters.GatedPrompts besides the language model's sizes")
    visual: dict[str, Any] | None = setting(
        None, help="settings of adapters.VisualPrompts besides the widths: media are tokens of a vision tower, no bind"
    )
    bias_tuning: dict[str, Any] | None = setting(
        None, help="settings of adapters.llama_adapter_v2.tune; the norms are trained as well"
    )
    output_projection: str = setting("transformer", choices=OUTPUT_PROJECTIONS, help="in adapters.OUTPUT_PROJECTIONS")
    output_projection_settings: dict[str, Any] = setting({}, help="its settings")
    conditions: dict[str, tuple[int, int]] = setting({}, low=1, help="output modality -> (L, C) of its condition")
    lora: dict[str, Any] | None = setting(None, help="settings of peft.LoraConfig")
    trained_length: int = setting(0, low=0, help="tokens of the longest row it was trained on; 0 = its whole context")

    def __post_init__(self) -> None:
        named = {"input_modalities": self.input_modalities, "signal_tokens": self.signal_tokens}
        for key, names in {**named, "conditions": self.conditions}.items():
            for name in names:
                if name not in MODALITIES:
                    raise ValueError(f"{key}: unknown modality {name!r}: expected one of {', '.join(MODALITIES)}")
        if self.input_tokens == 0 and (self.prompts.get("reach") != "row" or self.input_projection):
            raise ValueError(
                "input_tokens 0: media that stand nowhere in the text need prompts.reach row and no input_projection"
            )


class CoreConfig(PretrainedConfig, CoreFields):
    """What the core is made of: the fields of :class:`CoreFields`, and properties that follow from them."""

    model_type = "nextgpt_lite"
    sub_configs = {"text_config": PretrainedConfig}  # pyright: ignore[reportAssignmentType]  # transformers does so too
    text_config: Any = None  # a dict is made a configuration; None = a Llama

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.text_config, PretrainedConfig):
            from transformers import AutoConfig  # imported late: it brings most of transformers

            self.text_config = AutoConfig.for_model(**(self.text_config or {"model_type": "llama"}))
        self.input_modalities = list(self.input_modalities)
        self.signal_tokens, self.bind = dict(self.signal_tokens), dict(self.bind or BIND)
        super().__post_init__(**kwargs)

    @classmethod
    def read(cls, values: dict[str, Any], where: str, text_config: PretrainedConfig | None = None) -> Self:
        """A configuration from JSON. SettingsError, which names ``where``, for an unknown key or a wrong value.

        ``text_config`` takes the place of what ``values`` say of the language model.
        """
        own = {field.name for field in fields(CoreFields)}
        foreign = PretrainedConfig().to_dict()
        for key in values:
            if key not in own and key not in foreign and not key.startswith("_"):
                raise SettingsError(f"{where}: unknown key {key!r}{nearest(key, own)}")
        read_settings(CoreFields, {key: value for key, value in values.items() if key in own}, where)
        return cls.from_dict(values if text_config is None else {**values, "text_config": text_config})

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
        widths += (config.input_tokens,)
    projection = construct(kind, config.input_projection_settings, "input_projection_settings", *widths)
    if config.input_features == "pooled":
        return projection
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
        given = config.text_config.hidden_size, tuple(shape)
        made[modality] = construct(kind, settings, "output_projection_settings", *given)
    return made


def _chosen(what: str, name: str, kinds: dict[str, Any]) -> Any:
    if name not in kinds:
        raise ValueError(f"unknown {what} {name!r}: expected one of {', '.join(kinds)}")
    return kinds[name]
