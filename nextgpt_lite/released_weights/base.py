"""The language model that published weights are put on, the parts beside it, and the core that they become."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from data.atomic import write_json
from data.modalities import MODALITIES
from data.strict import read_json
from encoders import Encoder, load_encoder
from nextgpt_lite.checkpoint import MANIFEST, component, read_manifest, resolve_model
from nextgpt_lite.compose.composition import NAMES, Composition, Part
from nextgpt_lite.compose.folder import place_parts
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import CONTEXT_ADAPTER, add_tuning, trained_state, write_core
from nextgpt_lite.language_model_identity import sample_weights
from nextgpt_lite.language_models import read_config, read_tokenizer
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.released_weights.files import Tensors
from nextgpt_lite.weight_files import CheckpointError

#: Rows that no published file has: placeholders and the mark of the assistant's own media say nothing of their own.
ADDED = ("added_embedding", "added_output")
GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Request:
    """What is to be imported: files or folders, what they are put on, and settings that no file says."""

    sources: tuple[Path, ...]
    base: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    copy: bool = False  #: copies of the base's files, not links


@dataclass(frozen=True)
class NoSettings:
    """Of formats whose files say everything."""


@dataclass(frozen=True)
class Sizes:
    """Those of a Llama that decide about the shapes of its adapters. Linears have Meta's names."""

    width: int
    layers: int
    heads: int
    key_value_heads: int
    inner_width: int

    def linear(self, name: str) -> tuple[int, int]:
        """(outputs, inputs) of ``wq``, ``wk``, ``wv``, ``wo``, ``w1``, ``w2`` or ``w3``."""
        head = self.width // self.heads
        narrow = self.key_value_heads * head
        outputs = {"wk": narrow, "wv": narrow, "w1": self.inner_width, "w3": self.inner_width}.get(name, self.width)
        return outputs, self.inner_width if name == "w2" else self.width


class Base:
    """The parts of a model whose core is still to come: at first where the user has them, then placed in ``folder``.

    Files are checked against the former, so that nothing is linked or converted for weights that do not fit.
    """

    def __init__(self, folder: Path, source: Path, composition: Composition, copy: bool = False) -> None:
        self.folder, self.source = folder, source
        self._composition, self._copy, self._placed = composition, copy, False

    def place(self) -> None:
        """Link or copy the parts into the folder. CheckpointError for one that cannot be read or does not fit."""
        if not self._placed:
            place_parts(self._composition, self.folder, self._copy)
            self._placed = True
            self.reread()

    def reread(self) -> None:
        """Take note of parts that have changed."""
        for name in ("config", "encoder", "sizes", "rows"):
            self.__dict__.pop(name, None)

    def has(self, name: str) -> bool:
        """Whether there is a part."""
        return self._composition.part(name) is not None or (self._placed and (self.folder / name).is_dir())

    def path(self, name: str) -> Path:
        """Where a part is at present; a language model may have its tokenizer in its own folder."""
        if self._placed:
            return self.folder / name
        part = self._composition.part(name) or self._composition.part("language_model")
        assert part is not None  # a base has a language model
        return Path(part.path)

    @property
    def language_model(self) -> Path:
        return self.path("language_model")

    @cached_property
    def config(self) -> PretrainedConfig:
        """Of the language model."""
        return read_config(self.language_model)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return read_tokenizer(self.path("tokenizer"))

    @cached_property
    def rows(self) -> int:
        """Rows of the vocabulary. CheckpointError where the tokenizer has more or fewer tokens."""
        config, tokens = self.config.get_text_config(), len(self.tokenizer)
        if config.vocab_size != tokens:
            raise CheckpointError(
                f"the language model in {self.source} has {config.vocab_size:,} rows, its tokenizer {tokens:,} tokens, "
                "and published rows follow both"
            )
        return tokens

    @property
    def needs(self) -> str:
        """Who expects the shapes of a file."""
        return f"as the language model in {self.source} needs it"

    @cached_property
    def encoder(self) -> Encoder:
        """What reads media. CheckpointError where the base has none."""
        if not self.has("encoder"):
            raise CheckpointError(
                f"{self.source} has no encoder, which these weights need: compose a base with encoder=FOLDER"
            )
        return load_encoder(self.path("encoder"))

    @cached_property
    def sizes(self) -> Sizes:
        """CheckpointError for a language model that is no Llama."""
        config: Any = self.config
        if config.model_type != "llama":
            raise CheckpointError(
                f"these weights were published for a Llama: the language model in {self.source} is "
                f"{config.model_type!r}"
            )
        heads = config.num_attention_heads
        narrow = config.num_key_value_heads or heads
        return Sizes(config.hidden_size, config.num_hidden_layers, heads, narrow, config.intermediate_size)

    def text_fields(self) -> dict[str, Any]:
        """Fields of a core that reads and writes words alone."""
        self.place()
        fields: dict[str, Any] = {"input_modalities": [], "signal_tokens": {}, "prompts": {"media_tokens": 0}}
        if self.has("encoder"):
            fields |= {"encoder_identity": self.encoder.identity, "embedding_width": self.encoder.width}
        return fields

    def media_fields(self, width: int | None, where: str) -> dict[str, Any]:
        """Fields of a core that reads what the encoder does. CheckpointError where its embeddings are not ``width``."""
        self.place()
        encoder = self.encoder
        if width is not None and encoder.width != width:
            raise CheckpointError(
                f"{where} reads embeddings of width {width}, the encoder in {self.source} makes {encoder.width}"
            )
        read = [name for name in encoder.modalities if name in MODALITIES]
        fields = {"input_modalities": read, "signal_tokens": {}, "prompts": {"media_tokens": 0}}
        return fields | {"encoder_identity": encoder.identity, "embedding_width": encoder.width}

    def end_at(self, mark: str) -> None:
        """Let replies end where ``mark``, which is words to the tokenizer, begins a line or the text."""
        self.place()
        tokenizer: Any = self.tokenizer
        lines = [tokenizer.encode(text, add_special_tokens=False) for text in (f"\n{mark}", "\n")]
        common = next((i for i, (one, other) in enumerate(zip(*lines, strict=False)) if one != other), len(lines[1]))
        ends = {tokenizer.eos_token_id, *lines[0][common : common + 1]}
        ends |= set(tokenizer.encode(mark, add_special_tokens=False)[:1])
        path = self.language_model / GENERATION
        known = read_json(path) if path.is_file() else {}
        path.unlink(missing_ok=True)  # a link
        write_json(path, known | {"eos_token_id": sorted(end for end in ends if end is not None)})

    def write_core(self, fields: dict[str, Any], tensors: Tensors) -> None:
        """The core of these fields with these weights, which must be all that it has besides :data:`ADDED`."""
        self.place()
        config = CoreConfig(
            text_config=self.config,
            first_added_token=len(self.tokenizer),
            language_model_identity=sample_weights(self.language_model),
            **fields,
        )
        with torch.device("meta"):
            core = AnyToAnyCore(config)
            add_tuning(core)
        expected = {name: tuple(value.shape) for name, value in trained_state(core).items()}
        state = {name: torch.zeros(expected[name], dtype=torch.float16) for name in ADDED} | tensors
        found = {name: tuple(value.shape) for name, value in state.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise CheckpointError(
                    f"{name!r} of the core would have the shape {found.get(name)} by the weights and "
                    f"{expected.get(name)} by their sizes and those of {self.source}"
                )
        write_core(core.config, state, self.folder / "core")


def open_base(request: Request, folder: Path, template: str, encoder_settings: dict[str, Any] | None = None) -> Base:
    """The base of a request, to be placed in the new ``folder``. CheckpointError where there is none."""
    if request.base is None:
        raise CheckpointError("there is no base: give --base FOLDER, of a language model or made by compose")
    parts = base_parts(request.base)
    if encoder_settings and "encoder" in parts:
        parts["encoder"] = Part(parts["encoder"].path, encoder_settings)
    return Base(folder, request.base, Composition({**parts}, chat_template=template), request.copy)


def base_parts(source: Path) -> dict[str, Part]:
    """The parts of a base by component: of a model folder all but what was trained; else a language model's folder."""
    if not source.is_dir():
        raise CheckpointError(f"there is no base at {source}: expected the folder of a language model or of a model")
    if (source / "config.json").is_file() and not (source / MANIFEST).is_file():
        return {"language_model": Part(str(source))}
    folder = resolve_model(source)
    manifest = read_manifest(folder)
    if CONTEXT_ADAPTER in manifest["components"]:
        raise CheckpointError(f"{source} has a {CONTEXT_ADAPTER}: merge it into the language model first")
    found = [name for name in manifest["components"] if name in NAMES]
    return {name: Part(str(component(folder, manifest, name))) for name in found}
