"""LongLoRA's cases: one attention module in training, in both forms of shifted sparse attention, outputs and gradients.

Where the reference has a fault, ours is held against the definition (an explicit mask, dense, on the real tokens of
each row alone), and the reference against the definition with exactly that fault, so that nothing else hides behind it.

Shapes: B rows, T tokens, H heads, d head width, D model width.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding, apply_rotary_pos_emb

from adapters import attention as gated_attention
from adapters.long_context import ShiftedAttention
from tests.parity.cases import Case, Comparison

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
OUTPUT_TOLERANCE = {"split": 1e-6, "wrap": 1e-5}
GRADIENT_TOLERANCE = 1e-4


def kind(case: Case) -> str:
    """``split``, ``wrap``, the same with `` fault`` (the reference errs by design) or ``errors`` (it raises)."""
    if case.system != "longlora":
        raise ValueError(f"{case.path} is of system {case.system!r}, not longlora")
    if "cases" in case.record:
        return "errors"
    form, fault = case.config.get("mode"), case.record.get("differs_by_design")
    if form not in OUTPUT_TOLERANCE or not {"x", "pad2d", "upstream"} <= case.group("inputs/").keys():
        raise ValueError(f"{case.path}: no known kind has mode {form!r} and inputs {sorted(case.group('inputs/'))}")
    return f"{form} fault" if fault else form


def equal(case: Case) -> Iterable[Comparison]:
    """Ours equals the reference at real tokens, and so do the gradients."""
    inputs = case.group("inputs/")
    ours = run(module(case.config, case.weights()), case.config, inputs)
    return compared(ours, case.group("outputs/") | gradients(case), inputs["pad2d"], case.config["mode"])


def fault(case: Case) -> Iterable[Comparison]:
    """Ours equals the definition; the reference equals it with its fault, where the fault is told apart."""
    inputs, config = case.group("inputs/"), case.config
    attention, real = module(config, case.weights()), inputs["pad2d"]
    ours = run(attention, config, inputs)
    yield from compared(ours, definition(attention, config, inputs), real, config["mode"], "by definition: ")
    reference = case.group("outputs/") | gradients(case)
    if config["mode"] == "split":
        return
    if bool(real.all()) and config["group"] % 2:
        theirs = definition(attention, config, inputs, misplaced=1)
        yield from compared(theirs, reference, real, "wrap", "rolled back too little: ")
    elif bool(real[:, : config["group"]].all()) and config["group"] % 2 == 0:  # its mask is that of the first group
        theirs = run(attention, config, inputs, unmasked=True)
        yield from compared(theirs, reference, real, "wrap", "padding seen: ")


def handled(case: Case) -> Iterable[Comparison]:
    """What the reference cannot do equals the definition here."""
    for name, entry in case.record["cases"].items():
        config = entry["config"]
        attention, inputs = module(config), random_inputs(config, entry["pad"])
        ours, expected = run(attention, config, inputs), definition(attention, config, inputs)
        yield from compared(ours, expected, inputs["pad2d"], config["mode"], f"{name}: ")


KINDS = {"split": equal, "wrap": equal, "split fault": fault, "wrap fault": fault, "errors": handled}


# -- ours ---------------------------------------------------------------------------------------------------------


def module(config: dict, weights: dict[str, torch.Tensor] | None = None) -> LlamaAttention:
    """A layer's attention in training, with the registered function; random where no weights are given."""
    text = LlamaConfig(
        hidden_size=config["hidden"],
        num_attention_heads=config["heads"],
        num_key_value_heads=config["kv_heads"],
        max_position_embeddings=config["L"],
        rope_parameters={"rope_type": "linear", "factor": config["rope_factor"], "rope_theta": config["rope_theta"]},
    )
    text._attn_implementation = gated_attention.register()
    torch.manual_seed(config["seed"])
    attention = LlamaAttention(text, layer_idx=0).train()
    if weights is not None:
        attention.load_state_dict({name if "." in name else f"{name}.weight": w for name, w in weights.items()})
    return attention


def run(
    attention: LlamaAttention, config: dict, inputs: dict[str, torch.Tensor], unmasked: bool = False
) -> dict[str, torch.Tensor]:
    """``y`` and the gradients of the case's loss, through the registered function."""
    x, pad2d, upstream = inputs["x"].clone().requires_grad_(), inputs["pad2d"], inputs["upstream"]
    positions = LlamaRotaryEmbedding(attention.config)(x, torch.arange(x.shape[1])[None])
    shifted = ShiftedAttention(config["mode"], config["group"]).batch(x.shape[1], None if unmasked else pad2d)
    y, _ = attention(x, position_embeddings=positions, attention_mask=None, shifted_attention=shifted)
    return {"y": y.detach()} | differentiated(attention, x, (y * upstream * pad2d[..., None]).sum())


def differentiated(attention, x, loss) -> dict[str, torch.Tensor]:
    weights = [getattr(attention, name).weight for name in PROJECTIONS]
    return dict(zip(("x", *PROJECTIONS), torch.autograd.grad(loss, (x, *weights)), strict=True))


def gradients(case: Case) -> dict[str, torch.Tensor]:
    return {name.removesuffix(".weight"): gradient for name, gradient in case.group("grads/").items()}


def compared(ours, reference, real, form: str, prefix: str = "") -> Iterable[Comparison]:
    """Every value of the reference beside ours, outputs at real tokens only."""
    for name, expected in reference.items():
        mine, tolerance = ours[name], GRADIENT_TOLERANCE
        if name == "y":
            mine, expected, tolerance = mine[real.bool()], expected[real.bool()], OUTPUT_TOLERANCE[form]
        yield Comparison(f"{prefix}{name}", mine, expected, tolerance)


# -- the definition -----------------------------------------------------------------------------------------------


def visible(length: int, group: int, form: str, shift: int) -> torch.Tensor:
    """(T, T): whether a query (row) sees a key (column) in heads that are shifted by ``shift``, 0 = straight."""
    place = torch.arange(length)
    if form == "wrap":
        place = (place - shift) % length
    block = place // group if form == "wrap" or not shift else (place + group - shift) // group
    return (block[:, None] == block) & (place <= place[:, None])


def definition(
    attention: LlamaAttention, config: dict, inputs: dict[str, torch.Tensor], misplaced: int = 0
) -> dict[str, torch.Tensor]:
    """``y`` and gradients by an explicit mask, each row alone and without its padding.

    ``misplaced``: the fault of rolling by that much more than half a group, and back by half a group.
    """
    x, pad2d, upstream = inputs["x"].clone().requires_grad_(), inputs["pad2d"], inputs["upstream"]
    rows = []
    for row, real in zip(x, pad2d.bool(), strict=True):
        y = torch.zeros_like(row)
        y[real] = row_by_definition(attention, config, row[real], misplaced)
        rows.append(y)
    y = torch.stack(rows)
    return {"y": y.detach()} | differentiated(attention, x, (y * upstream * pad2d[..., None]).sum())


def row_by_definition(attention, config, row: torch.Tensor, misplaced: int) -> torch.Tensor:
    """One row of real tokens (T, D) -> (T, D)."""
    length, heads, group = len(row), config["heads"], config["group"]
    projected = [getattr(attention, name)(row) for name in PROJECTIONS[:3]]
    query, key, value = (states.view(1, length, -1, attention.head_dim).transpose(1, 2) for states in projected)
    angles = LlamaRotaryEmbedding(attention.config)(row[None], torch.arange(length)[None])
    query, key = apply_rotary_pos_emb(query, key, *angles)
    key, value = (states.repeat_interleave(heads // config["kv_heads"], dim=1) for states in (key, value))
    shifts = [0] * (heads // 2) + [group // 2 + misplaced] * (heads - heads // 2)
    sees = torch.stack([visible(length, group, config["mode"], shift) for shift in shifts])  # (H, T, T)
    scores = (query @ key.transpose(2, 3)) * attention.head_dim**-0.5
    mixed = (scores.masked_fill(~sees, float("-inf")).softmax(-1) @ value)[0]  # (H, T, d)
    straight, shifted = mixed.split([heads // 2, heads - heads // 2])
    mixed = torch.cat([straight, shifted.roll(-misplaced, dims=1)])
    return attention.o_proj(mixed.transpose(0, 1).flatten(1))


def random_inputs(config: dict, padding: list | None) -> dict[str, torch.Tensor]:
    shape = (config["B"], config["L"], config["hidden"])
    pad2d = torch.ones(shape[:2], dtype=torch.long) if padding is None else torch.tensor(padding)
    return {"x": torch.randn(shape), "pad2d": pad2d, "upstream": torch.randn(shape)}
