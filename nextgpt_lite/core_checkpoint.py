"""The core's files: what the stages trained (adapters, projections, added rows, LoRA), around a base language model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from adapters import llama_adapter_v2
from data.atomic import atomic_folder, hash_folder, write_json
from data.strict import SettingsError, construct, read_json
from nextgpt_lite.checkpoint import CONTEXT_ADAPTER as CONTEXT_ADAPTER
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.language_model_identity import check_language_model_identity, sample_weights
from nextgpt_lite.language_models import QUANTISED, dtype_of, load_language_model
from nextgpt_lite.long_context.merge import merged_model
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.weight_files import CheckpointError, copy_tensors, read_tensors, require_folder


def new_core(
    config: CoreConfig, language_model_folder: Path, precision: str = "float32", adapter: Path | None = None
) -> AnyToAnyCore:
    """A fresh core around a base language model: gates zero, added rows at the vocabulary's mean, LoRA zero.

    ``precision`` is one of nextgpt_lite.language_models.PRECISIONS, of the base. ``adapter`` is the folder of the
    context adapter (stage 0), which is merged into the base where ``config`` names one; CheckpointError where that is
    another one, or cannot be.
    ``config`` notes the identity of the language model.
    """
    require_folder(language_model_folder, "language model")
    config.language_model_identity = sample_weights(language_model_folder)
    core = AnyToAnyCore(config, _base(config, language_model_folder, precision, adapter))
    core.initialise_added_rows()
    add_tuning(core)
    return core


def _base(config: CoreConfig, folder: Path, precision: str, adapter: Path | None) -> PreTrainedModel:
    if config.context_adapter:
        return extended_base(folder, adapter, config.context_adapter, precision)
    return load_language_model(folder, precision=precision)


def add_tuning(core: AnyToAnyCore) -> None:
    """Put what its configuration names (bias tuning, LoRA) on the language model of a core, in place."""
    if core.config.bias_tuning is not None:
        add_bias_tuning(core, core.config.bias_tuning)
    if core.config.lora:
        add_lora(core, core.config.lora)


def extended_base(folder: Path, adapter: Path | None, identity: str, precision: str) -> PreTrainedModel:
    """The language model in ``folder`` with the context adapter of this identity merged, frozen."""
    if precision in QUANTISED:
        raise CheckpointError(f"a base in {precision} takes no context adapter: merge it first (nextgpt-lite merge)")
    if adapter is None or not adapter.is_dir():
        raise CheckpointError(f"the core was trained on a base with a context adapter, and there is none at {adapter}")
    if (found := hash_folder(adapter)) != identity:
        raise CheckpointError(f"the core was trained on context adapter {identity[:12]}, this one is {found[:12]}")
    merged: Any = merged_model(folder, adapter)
    return merged.to(dtype_of(precision)).requires_grad_(False).eval()


def add_lora(core: AnyToAnyCore, settings: dict[str, Any]) -> None:
    """Put LoRA on the language model, in place."""
    core.config.lora = dict(settings)
    inject_adapter_in_model(construct(LoraConfig, settings, "lora"), core.language_model)
    for name, parameter in core.language_model.named_parameters():
        if ".lora_" in name:  # peft gives it the precision of the base, in which small steps would be lost
            parameter.data = parameter.data.float()


def add_bias_tuning(core: AnyToAnyCore, settings: dict[str, Any]) -> None:
    """Put biases and scales on the language model, in place; its norms count as trained from now on."""
    core.config.bias_tuning = dict(settings)
    construct(llama_adapter_v2.tune, settings, "bias_tuning", core.language_model)


def save_core(core: AnyToAnyCore, folder: Path) -> None:
    """Write what was trained (fp16) and the configuration, atomically."""
    write_core(core.config, {name: value.detach().half() for name, value in trained_state(core).items()}, folder)


def write_core(config: CoreConfig, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the files of a core from its configuration and its :func:`trained_state`, atomically."""
    with atomic_folder(folder) as temporary:
        own = {name: value.contiguous() for name, value in tensors.items()}
        save_file(own, temporary / "model.safetensors", {"format": "pt"})
        values = config.to_dict()
        values["text_config"].pop("_name_or_path", None)  # a folder of this machine
        write_json(temporary / "config.json", values, default=str)


def save_language_model(core: AnyToAnyCore, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write the language model below a core as a plain one, for :func:`load_core`, atomically; the core notes it.

    ``dtype`` is the precision of its weights, which its configuration names too; None = that of the one which the core
    was built on. LoRA, biases and scales of bias tuning are the core's: they are not among it.
    """
    model, dtype = core.language_model, dtype or core.config.text_config.dtype or torch.float32
    own = llama_adapter_v2.tuned_parameters(model, norms=False)
    own_state = {
        name.replace(".base_layer.", "."): value.to(dtype)
        for name, value in model.state_dict().items()
        if ".lora_" not in name and name not in own
    }
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary, state_dict=own_state)
        config = copy.deepcopy(model.config)
        config.dtype = dtype
        config.save_pretrained(temporary)
    core.config.language_model_identity = sample_weights(folder)


def load_core(
    folder: Path, language_model_folder: Path, precision: str = "float32", adapter: Path | None = None
) -> AnyToAnyCore:
    """A trained core. Missing, unknown and wrongly shaped keys are refused by name. For the rest see new_core."""
    path = folder / "config.json"
    try:
        config = read_core_config(folder)
        check_language_model_identity(config.language_model_identity, language_model_folder)
        base = _base(config, language_model_folder, precision, adapter)
        with no_init_weights():  # every weight is read below
            core = AnyToAnyCore(config, base)
            add_tuning(core)
    except (SettingsError, TypeError) as error:  # TypeError: settings that a projection or LoRA does not know
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    copy_tensors(read_tensors(folder / "model.safetensors"), trained_state(core), folder)
    return core.eval()


def hold_in(core: AnyToAnyCore, precision: str) -> AnyToAnyCore:
    """A loaded core that is to answer: all that stands around its language model in the type that this computes in."""
    for name, module in core.named_children():
        if name != "language_model" or precision not in QUANTISED:
            module.to(dtype_of(precision))
    for parameter in (core.added_embedding, core.added_output):
        parameter.data = parameter.data.to(dtype_of(precision))
    return core


def trained_state(core: AnyToAnyCore) -> dict[str, torch.Tensor]:
    """Parameters of the core that are not the base language model's, or not any more."""
    tuned = set()
    if core.config.bias_tuning is not None:
        tuned = {f"language_model.{name}" for name in llama_adapter_v2.tuned_parameters(core.language_model)}
    return {
        name: parameter
        for name, parameter in core.named_parameters()
        if not name.startswith("language_model.") or ".lora_" in name or name in tuned
    }


def read_core_config(folder: Path) -> CoreConfig:
    """The configuration of a core's folder. CheckpointError where it is missing or holds what it may not."""
    path = folder / "config.json"
    try:
        return CoreConfig.read(read_json(path), str(path))
    except SettingsError as error:
        raise CheckpointError(str(error)) from None
