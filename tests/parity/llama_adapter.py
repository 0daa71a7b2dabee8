"""Cases of LLaMA-Adapter V1 and V2, run through the core; ImageBind-LLM and Point-BERT have a module of their own.

The reference's state dict is translated by nextgpt_lite.released_weights.meta_llama, as a released checkpoint would
be, and so are its gradients: a gradient's rows change places as those of its parameter do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaConfig

from encoders.open_clip import OpenClipConfig, OpenClipVision
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_bias_tuning, add_lora
from nextgpt_lite.core_parts import PromptStore
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.released_weights.meta_llama import clip_weights, load, translate
from tests.parity import imagebind_llm
from tests.parity.cases import Case, Comparison, gradient_of

OUTPUT, GRADIENT = 1e-5, 1e-4
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def kind(case: Case) -> str:
    """What a case is, by the settings that only it has."""
    config = case.config
    if "add_scale" in config:
        return "chat_65b"
    if "clip" in config and "query_layer" in config:
        return "multimodal_7b"
    if "adapter_len" in config:
        return "v1"
    return imagebind_llm.kind(case)


# -- the three kinds ------------------------------------------------------------------------------------------------


def v1(case: Case) -> Iterable[Comparison]:
    """V1: the training forward, and the released inference code with its raw gates."""
    core = adapter_core(case, static_prompts(case) | {"gate_scale": True})
    outputs = case.group("outputs/")
    yield from trained(case, core, outputs)
    prompts = core.gated_prompts
    assert prompts.static_gate_scale is not None  # the configuration asks for it
    gates = prompts.static_gate.detach().clone()
    with torch.no_grad():
        prompts.static_gate.zero_()
        logits = base_logits(core, core(case.group("inputs/")["tokens"]).logits)
        yield Comparison("logits_gate0", logits, outputs["logits_gate0"], OUTPUT)
        largest = gates.abs().amax(1) + 1.0  # g = c tanh(atanh(g / c)) also for gates beyond one
        prompts.static_gate.copy_(torch.atanh(gates / largest[:, None]))
        prompts.static_gate_scale.copy_(largest)
    last = base_logits(core, core(case.group("inputs/")["tokens"]).logits)[:, -1]
    yield Comparison("rawgate_last_logits", last, outputs["rawgate_last_logits"], OUTPUT)
    steps = stepped(case, core)
    yield Comparison("rawgate_steps", steps, outputs["rawgate_prefill_plus_step_logits"], OUTPUT)


def chat_65b(case: Case) -> Iterable[Comparison]:
    """V2 as chat model: scale on the input, bias, norms; with prompts or without."""
    scale = "input" if case.config["add_scale"] else "none"
    core = adapter_core(case, static_prompts(case), bias_tuning={"scale": scale})
    outputs = case.group("outputs/")
    yield from trained(case, core, outputs)
    yield Comparison("steps", stepped(case, core), outputs["prefill_plus_step_logits"], OUTPUT)


def multimodal_7b(case: Case) -> Iterable[Comparison]:
    """V2 with pictures: the CLIP tower, queries and blocks, prompts with the visual query added."""
    config, outputs = case.config, case.group("outputs/")
    tower = clip_tower(case)
    with torch.no_grad():
        features = tower(case.group("inputs/")["images"])  # (B, 1 + N, C)
    yield Comparison("clip_feats", features, outputs["clip_feats"], OUTPUT)
    prompts = {
        "static_tokens": config["query_len"],
        "static_layers": config["query_layer"],
        "media_tokens": 0,
        "media_added": True,
        "gate_scale": config["w_new_gate"],
    }
    visual = {
        "tokens": config["query_len"],
        "inner_width": config["v_embed_dim"],
        "blocks": config["v_depth"],
        "heads": config["v_num_heads"],
    }
    targets = ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuning = {"scale": "none", "targets": targets} if config["w_bias"] else None
    rank = config["lora_rank"]
    lora = {"r": rank, "lora_alpha": rank, "target_modules": LORA_TARGETS} if config["w_lora"] else None
    core = adapter_core(case, prompts, bias_tuning=tuning, lora=lora, visual=visual, width=tower.width)
    query = core.visual_prompts(features)
    yield Comparison("visual_query", query, outputs["visual_query"], OUTPUT)
    media = {"media_embeddings": features[:, None], "media_mask": torch.ones(len(features), 1, dtype=torch.bool)}
    yield from trained(case, core, outputs, **media)
    yield Comparison("steps", stepped(case, core, **media), outputs["prefill_plus_step_logits"], OUTPUT)
    yield from greedy(case, core, outputs, **media)


KINDS = {"v1": v1, "chat_65b": chat_65b, "multimodal_7b": multimodal_7b} | imagebind_llm.KINDS


# -- the core of a case ---------------------------------------------------------------------------------------------


def adapter_core(case: Case, prompts: dict[str, Any], bias_tuning=None, lora=None, visual=None, width=1):
    """A core of the case's sizes with the case's weights, whose tokens all see the media of their row."""
    config, weights = case.config, case.weights()
    core = AnyToAnyCore(
        CoreConfig(
            text_config=text_config(config, weights),
            first_added_token=config["vocab_size"],
            signal_tokens={"image": 1},
            embedding_width=width,
            prompts=prompts | {"reach": "row"},
            visual=visual,
        )
    ).eval()
    if bias_tuning is not None:
        add_bias_tuning(core, bias_tuning)
    if lora is not None:
        add_lora(core, lora)
    translated = translated_names(case, weights)
    for name, parameter in core.named_parameters():  # what a form without bias or second gate leaves at its start
        if name.endswith((".bias", ".static_gate_scale")) and name not in translated:
            translated[name] = parameter.detach().clone()
    load(core, translated, base=True)
    return core


def text_config(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> LlamaConfig:
    """Sizes that the configuration does not say are those of the weights."""
    rows = {name.removeprefix("llama."): weight.shape[0] for name, weight in weights.items() if weight.ndim}
    return LlamaConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["dim"],
        intermediate_size=rows["layers.0.feed_forward.w1.weight"],
        num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"],
        num_key_value_heads=config["n_heads"] * rows["layers.0.attention.wk.weight"] // config["dim"],
        rms_norm_eps=config["norm_eps"],
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )


def translated_names(case: Case, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights or gradients of the case under the core's names."""
    config = case.config
    kv_rows = next(w.shape[0] for name, w in case.weights().items() if name.endswith("layers.0.attention.wk.weight"))
    return translate(
        tensors,
        layers=config["n_layers"],
        heads=config["n_heads"],
        key_value_heads=config["n_heads"] * kv_rows // config["dim"],
        prompt_tokens=config.get("adapter_len") or config.get("query_len") or 1,
    )


def static_prompts(case: Case) -> dict[str, Any]:
    config = case.config
    return {"media_tokens": 0, "static_tokens": config["adapter_len"], "static_layers": config["adapter_layer"]}


def clip_tower(case: Case) -> OpenClipVision:
    sizes = case.config["clip"]
    tower = OpenClipVision(
        OpenClipConfig(sizes["res"], sizes["patch"], sizes["width"], sizes["layers"], sizes["heads"], sizes["out"])
    ).eval()
    tower.load(clip_weights(case.weights()))
    return tower


# -- what every kind compares ---------------------------------------------------------------------------------------


def trained(case: Case, core: AnyToAnyCore, outputs, **media: torch.Tensor) -> Iterable[Comparison]:
    """The training forward: layers, logits, loss, gradients."""
    inputs = case.group("inputs/")
    labels = inputs["labels"].masked_fill(inputs["labels"] == 0, -100)
    core.requires_grad_(True)  # LoRA has frozen what it lies around
    with layer_outputs(core) as seen:
        output = core(inputs["tokens"], **media)
    yield Comparison("logits", base_logits(core, output.logits), outputs["logits"], OUTPUT)
    for name, value in seen.items():
        if name in outputs:
            yield Comparison(name, value, outputs[name], OUTPUT)
    base = base_logits(core, output.logits)  # the loss over the reference's own vocabulary
    loss = functional.cross_entropy(base[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    yield Comparison("loss", loss, outputs["loss"], OUTPUT)
    core.zero_grad(set_to_none=True)
    loss.backward()
    own = dict(core.named_parameters())
    for name, gradient in translated_names(case, case.group("grads/")).items():
        yield Comparison(f"gradient of {name}", gradient_of(own[name]), gradient, GRADIENT)


@contextmanager
def layer_outputs(core: AnyToAnyCore) -> Iterator[dict[str, torch.Tensor]]:
    """Filled by the forward passes inside: ``attn{i}`` behind o_proj, ``block{i}`` behind the layer."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, output) -> None:
        seen[name] = (output[0] if isinstance(output, tuple) else output).detach()

    hooks = []
    for i, layer in enumerate(core.language_model.get_decoder().layers):
        for name, module in ((f"attn{i}", layer.self_attn), (f"block{i}", layer)):
            hooks.append(module.register_forward_hook(lambda _, __, output, name=name: keep(name, output)))
    yield seen
    for hook in hooks:
        hook.remove()


def base_logits(core: AnyToAnyCore, logits: torch.Tensor) -> torch.Tensor:
    """Without the rows that the core adds for placeholders and signals."""
    return logits[..., : core.table.first]


@torch.no_grad()
def stepped(case: Case, core: AnyToAnyCore, **media: torch.Tensor) -> torch.Tensor:
    """A prefix, then one token a step with the cache and the stored projections, as generation does it (B, S, V)."""
    tokens, prefix, store = case.group("inputs/")["tokens"], case.config["prefill"], PromptStore()
    output = core(tokens[:, :prefix], **media, use_cache=True, prompt_store=store)
    steps = [output.logits[:, -1]]
    for place in range(prefix, tokens.shape[1]):
        more = {"past_key_values": output.past_key_values, "use_cache": True, "prompt_store": store}
        output = core(tokens[:, place : place + 1], **media, **more)
        steps.append(output.logits[:, -1])
    return base_logits(core, torch.stack(steps, dim=1))


def greedy(case: Case, core: AnyToAnyCore, outputs, **media: torch.Tensor) -> Iterable[Comparison]:
    """The ids that each row goes on with, by the core's own ``generate``."""
    tokens = case.group("inputs/")["tokens"]
    for row, length in enumerate(case.config["prompt_lens"]):
        expected = outputs[f"generate_greedy_row{row}"]
        prompt = tokens[row : row + 1, :length]
        ids = core.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            **{name: value[row : row + 1] for name, value in media.items()},
            max_new_tokens=max(1, len(expected)),
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            suppress_tokens=list(range(core.table.first, core.config.vocab_size)),
        )
        yield Comparison(f"greedy ids of row {row}", ids[0, length : length + len(expected)], expected, 0)
