"""NExT-GPT's published files at tiny size: weights of the golden cases by formula, parted as its code saves them."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from adapters import GroupProjection, TransformerProjection
from adapters.output_projection import LEGACY_NAMES
from nextgpt_lite.model import AnyToAnyCore
from tests.nextgpt_lite.released_weights.published import MAKERS, Given, Tensors, adapter_config, letters, write_model
from tests.parity.cases import GOLDEN, Case, _read
from tests.parity.nextgpt_model import LEGACY_EPSILON, SHORT, Reference, legacy_projection, legacy_vocabulary, newest
from tests.parity.nextgpt_prompts import counts_of
from tests.tiny_model import tiny_encoder

MEDIA = ("image", "video", "audio")
GROUP: dict[str, Any] = {"inner_width": 16, "depths": [1, 1], "heads": 2, "group_tokens": [4, 0], "groups": [3]}


def golden(name: str) -> Case:
    return _read(GOLDEN / "nextgpt/model" / f"{name}.json", "nextgpt")


def rows(core: AnyToAnyCore) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and output rows, the base's and behind them those of the signals."""
    silent = core.table.first_signal - core.table.first
    pairs = (core.get_input_embeddings(), core.added_embedding), (core.get_output_embeddings(), core.added_output)
    first, second = (torch.cat([layer.weight.detach(), added.detach()[silent:]]) for layer, added in pairs)
    return first, second


def write_base(folder: Path, core: AnyToAnyCore, count: int) -> Path:
    """The language model of a reference with its first ``count`` rows, and an encoder."""
    config = core.config.text_config.__class__(**core.config.text_config.to_dict() | {"vocab_size": count})
    state = {name: value.detach().clone() for name, value in core.language_model.state_dict().items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][:count]
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    model.save_pretrained(folder / "llama")
    letters(count).save_pretrained(folder / "llama")
    torch.manual_seed(3)
    tiny_encoder().save_pretrained(folder / "encoder")
    return write_model(folder / "base", folder / "llama", encoder=folder / "encoder")


def lora(prefix: str, adapter: str) -> Tensors:
    torch.manual_seed(5)
    names = [f"{prefix}model.layers.{layer}.self_attn.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]
    found = {f"{name}.lora_A{adapter}.weight": torch.randn(2, 64) for name in names}
    return found | {f"{name}.lora_B{adapter}.weight": torch.randn(64, 2) for name in names}


def small_projections() -> dict[str, TransformerProjection]:
    """Output projections of no case, a thousand times smaller."""
    torch.manual_seed(9)
    shapes = {"image": (77, 32), "video": (77, 32), "audio": (1, 24)}
    sizes = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 24}
    return {modality: TransformerProjection(64, shape, **sizes) for modality, shape in shapes.items()}


def newest_files(folder: Path, golden_numbers: bool = False) -> Given:
    """The projectors of stages 1 and 2, and what stage 3 saves: everything again, and LoRA apart."""
    reference = newest(golden("train_losses"), MEDIA if golden_numbers else ())
    if not golden_numbers:
        reference.core.output_projections.update(small_projections())
    embedding, output = rows(reference.core)
    torch.manual_seed(7)
    reading = {f"model.mm_input_projector.{n}": v for n, v in GroupProjection(24, 64, **GROUP).state_dict().items()}
    writing: Tensors = {}
    for modality, module in reference.core.output_projections.items():
        writing |= {f"model.mm_output_{SHORT[modality]}_projector.{n}": v for n, v in module.state_dict().items()}
    last = {f"base_model.model.{n}": v for n, v in writing.items()}
    last |= {"base_model.model.model.embed_tokens.weight": embedding, "base_model.model.lm_head.weight": output}
    old = {name: torch.zeros_like(value) for name, value in writing.items()}
    files: dict[str, Any] = {"mm_input_projector.bin": reading, "mm_output_projector.bin": old}
    files |= {"non_lora_trainables.bin": last}
    if not golden_numbers:
        files |= {"adapter_model.bin": lora("base_model.model.", "")}
        files |= {"adapter_config.json": adapter_config(target_modules=["q_proj", "v_proj"])}
    base = write_base(folder, reference.core, reference.core.table.first)
    return Given(files, base, {"input_heads": 2}, "non_lora_trainables.bin")


def legacy_reference(golden_numbers: bool) -> Reference:
    """As tests.parity.nextgpt_model has it."""
    config = golden("legacy_train").config
    counts, spans = counts_of(legacy_vocabulary(golden("legacy_train"))), {}
    first = config["vocab_size"] - sum(counts.values())
    for modality, count in counts.items():
        spans[modality] = first, first + count - 1
        first += count
    shapes = {"image": [77, 32], "video": [77, 32], "audio": [24]}
    projections = {name: legacy_projection(64, shape) for name, shape in shapes.items()} if golden_numbers else {}
    return Reference(config | {"rms_norm_eps": LEGACY_EPSILON}, spans, projections)


def legacy_files(folder: Path, golden_numbers: bool = False) -> Given:
    """``pytorch_model.pt`` of the first release; with the numbers of the golden case, which has no LoRA, or small."""
    core = legacy_reference(golden_numbers).core
    if not golden_numbers:
        core.output_projections.update(small_projections())
    embedding, output = rows(core)
    torch.manual_seed(8)
    own: Tensors = {"llama_proj.weight": torch.randn(64, 24), "llama_proj.bias": torch.randn(64)}
    ends = {new: old for old, new in LEGACY_NAMES.items()}
    for modality, module in core.output_projections.items():
        prefix = {"image": "gen_text_hidden_fcs.0."}.get(modality, f"gen_text_hidden_fcs_{modality}.0.")
        for name, value in module.state_dict().items():
            start = next((end for end in ends if name.startswith(end)), "")
            own[prefix + ends.get(start, "") + name.removeprefix(start)] = value
    model = "llama_model.base_model.model."
    own |= {f"{model}model.embed_tokens.weight": embedding, f"{model}lm_head.weight": output}
    own |= lora(model, ".default") if not golden_numbers else {}
    return Given({"pytorch_model.pt": own}, write_base(folder, core, 100), main="pytorch_model.pt")


#: Every format that goes on a base -> what makes its files.
FORMATS = MAKERS | {"nextgpt": newest_files, "nextgpt_legacy": legacy_files}
