"""Gated prompts: LLaMA-Adapter V1 on recorded tensors (logits, loss, gradients, cached steps), and who sees what."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from adapters import GatedPrompts, PromptBatch
from adapters import attention as gated_attention
from adapters.gated_prompts import prompt_attention

GOLDEN = Path(__file__).parents[1] / "golden/llama_adapter"
NAMES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def half_split(weight, heads):
    """Rows for rotary on interleaved pairs -> rows for rotary on halves."""
    width = weight.shape[0] // heads
    return weight.view(heads, width // 2, 2, -1).transpose(1, 2).reshape(weight.shape)


def state_of(tensors, config):
    """The reference's state dict under the names of LlamaForCausalLM."""
    state = {
        "model.embed_tokens.weight": tensors["weights/tok_embeddings.weight"],
        "model.norm.weight": tensors["weights/norm.weight"],
        "lm_head.weight": tensors["weights/output.weight"],
    }
    for layer in range(config["n_layers"]):
        for theirs, ours in NAMES.items():
            weight = tensors[f"weights/layers.{layer}.{theirs}.weight"]
            rotated = theirs in ("attention.wq", "attention.wk")
            state[f"model.layers.{layer}.{ours}.weight"] = half_split(weight, config["n_heads"]) if rotated else weight
    return state


@pytest.fixture(scope="module")
def v1():
    """(language model, prompts with the reference's gates, tensors)."""
    config = json.loads((GOLDEN / "v1.json").read_text())["config"]
    tensors = load_file(GOLDEN / "v1.safetensors")
    text = LlamaConfig(
        vocab_size=config["vocab_size"],
        hidden_size=config["dim"],
        intermediate_size=tensors["weights/layers.0.feed_forward.w1.weight"].shape[0],
        num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"],
        rms_norm_eps=config["norm_eps"],
        max_position_embeddings=config["max_seq_len"],
        tie_word_embeddings=False,
    )
    text._attn_implementation = gated_attention.register()
    model = LlamaForCausalLM(text).eval()
    model.load_state_dict(state_of(tensors, config))
    layers, count = config["n_layers"], config["adapter_layer"]
    prompts = GatedPrompts(
        layers,
        config["n_heads"],
        config["dim"],
        media_tokens=0,
        static_tokens=config["adapter_len"],
        static_layers=count,
    )
    with torch.no_grad():
        prompts.static_prompt.copy_(tensors["weights/adapter_query.weight"].view(count, config["adapter_len"], -1))
        gates = [tensors[f"weights/layers.{i}.attention.gate"].flatten() for i in range(layers - count, layers)]
        prompts.static_gate.copy_(torch.stack(gates))
    return model, prompts, tensors


def run(v1, tokens, **more):
    model, prompts, _ = v1
    return model(tokens, prompt_batch=PromptBatch(prompts, None, None), **more)


def test_logits_loss_and_gradients_equal_the_reference(v1):
    _, prompts, tensors = v1
    logits = run(v1, tensors["inputs/tokens"]).logits
    torch.testing.assert_close(logits, tensors["outputs/logits"], atol=2e-5, rtol=1e-4)
    loss = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tensors["inputs/labels"][:, 1:].flatten(), ignore_index=0
    )
    torch.testing.assert_close(loss, tensors["outputs/loss"])
    gate, prompt = torch.autograd.grad(loss, [prompts.static_gate, prompts.static_prompt])
    expected = torch.stack([tensors[f"grads/layers.{i}.attention.gate"].flatten() for i in (1, 2, 3)])
    torch.testing.assert_close(gate, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(prompt.flatten(0, 1), tensors["grads/adapter_query.weight"], atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_gate_zero_is_the_plain_model(v1):
    model, prompts, tensors = v1
    gates = prompts.static_gate.clone()
    prompts.static_gate.zero_()
    torch.testing.assert_close(
        run(v1, tensors["inputs/tokens"]).logits, tensors["outputs/logits_gate0"], atol=2e-5, rtol=1e-4
    )
    assert torch.equal(run(v1, tensors["inputs/tokens"]).logits, model(tensors["inputs/tokens"]).logits)
    prompts.static_gate.copy_(gates)


@torch.no_grad()
def test_cached_steps_equal_the_full_pass(v1):
    tokens = v1[2]["inputs/tokens"]
    full = run(v1, tokens).logits
    output = run(v1, tokens[:, :8], use_cache=True)
    steps = [output.logits[:, -1]]
    for position in range(8, tokens.shape[1]):
        output = run(v1, tokens[:, position : position + 1], past_key_values=output.past_key_values, use_cache=True)
        steps.append(output.logits[:, -1])
    torch.testing.assert_close(torch.stack(steps, dim=1), full[:, 7:], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_the_released_inference_code_with_its_raw_gates(v1):
    """It multiplies by the gate itself; tanh(atanh(g)) = g for gates below one."""
    _, prompts, tensors = v1
    gates = prompts.static_gate.clone()
    prompts.static_gate.copy_(torch.atanh(gates))
    tokens = tensors["inputs/tokens"]
    torch.testing.assert_close(
        run(v1, tokens).logits[:, -1], tensors["outputs/rawgate_last_logits"], atol=2e-5, rtol=1e-4
    )
    prompts.static_gate.copy_(gates)


def test_media_and_visibility_come_together():
    prompts = GatedPrompts(2, 2, 8)
    with pytest.raises(ValueError, match="together"):
        PromptBatch(prompts, torch.zeros(1, 1, 8), None)


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"must lie in 0\.\.2"):
        GatedPrompts(2, 2, 8, media_layers=3)


def test_early_fusion_reaches_the_first_layers_only():
    prompts = GatedPrompts(4, 2, 8, media_layers=2)
    assert [prompts.has_media(layer) for layer in range(4)] == [True, True, False, False]
    assert prompts.media_gate.abs().sum() == 0


def test_media_layers_are_counted_from_either_end():
    torch.manual_seed(0)
    first, last = (GatedPrompts(4, 2, 8, media_layers=3, media_last=end) for end in (False, True))
    assert [first.has_media(layer) for layer in range(4)] == [True, True, True, False]
    assert [last.has_media(layer) for layer in range(4)] == [False, True, True, True]
    media = torch.randn(1, 1, 8)
    torch.testing.assert_close(last.media_prompts(3, media)[0, 0], media[0, 0] + last.layer_query[2, 0])


# -- V2: media of their own in the first layers, or added to the static prompts of the last ----------------------------

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
FORMS = {
    "own": {"media_tokens": 2, "media_layers": 1, "static_tokens": 3, "static_layers": 2, "keys": True},
    "added": {"media_tokens": 0, "static_tokens": 2, "static_layers": 2, "media_added": True, "gate_scale": True},
}


def prompted(form):
    """(language model, prompts with open gates) of a form; K = 2 tokens a medium."""
    torch.manual_seed(0)
    config = LlamaConfig(**SMALL)
    config._attn_implementation = gated_attention.register()
    model = LlamaForCausalLM(config).eval()
    prompts = GatedPrompts(3, 4, 16, **FORMS[form])
    with torch.no_grad():
        for name, parameter in prompts.named_parameters():
            if "gate" in name:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
    return model, prompts


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_every_token_sees_what_it_may_and_hidden_media_have_no_effect(form):
    """A row whose tokens see nothing, the first, the second or both media equals what each would see alone."""
    model, prompts = prompted(form)
    ids, media = torch.arange(5)[None], torch.randn(1, 2, 2, 16)
    nobody = torch.zeros(1, 5, 2, dtype=torch.bool)
    first = nobody.clone()
    first[..., 0] = True

    def logits(media, visibility):
        return model(ids, prompt_batch=PromptBatch(prompts, media, visibility)).logits

    alone = logits(media[:, :1], first[..., :1])
    torch.testing.assert_close(logits(media, first), alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits(media, first[:, :1]), alone, atol=1e-5, rtol=1e-4)  # (B, 1, M) serves all tokens
    assert (logits(media, ~nobody) - alone).abs().max() > 1e-3, "two media are more than one"
    none = model(ids, prompt_batch=PromptBatch(prompts, None, None)).logits
    torch.testing.assert_close(logits(media, nobody), none, atol=1e-5, rtol=1e-4)
    late = nobody.clone()
    late[:, 3:] = True
    torch.testing.assert_close(logits(media, late)[:, :3], none[:, :3], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_added_media_are_the_released_variant():
    """One medium that all tokens see: the static prompts of the last layers, each plus its own token."""
    model, prompts = prompted("added")
    ids, media = torch.arange(5)[None], torch.randn(1, 1, 2, 16)
    everybody = torch.ones(1, 1, 1, dtype=torch.bool)
    added = model(ids, prompt_batch=PromptBatch(prompts, media, everybody)).logits
    prompts.static_prompt += media[0]
    static = model(ids, prompt_batch=PromptBatch(prompts, None, None)).logits
    torch.testing.assert_close(added, static, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_stored_projections_change_nothing(form):
    model, prompts = prompted(form)
    ids, media = torch.arange(5)[None], torch.randn(1, 1, 2, 16)
    store = {}
    batches = [PromptBatch(prompts, media, torch.ones(1, 1, 1, dtype=torch.bool), s) for s in (None, store, store)]
    plain, filled, used = (model(ids, prompt_batch=batch).logits for batch in batches)
    assert torch.equal(plain, filled) and torch.equal(plain, used)
    assert {kind for kind, _ in store} == {"own": {"media", "static"}, "added": {"added"}}[form]


@torch.no_grad()
def test_prompts_go_past_lora():
    """Keys and values of prompts come from the frozen projections (V2's released code)."""
    from peft import LoraConfig, inject_adapter_in_model

    model, prompts = prompted("own")
    query, batch = torch.randn(1, 4, 5, 4), PromptBatch(prompts, None, None)
    attention = model.model.layers[2].self_attn
    before = prompt_attention(attention, query, batch, 0.5)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["k_proj", "v_proj"], init_lora_weights=False), model)
    assert torch.equal(prompt_attention(attention, query, batch, 0.5), before)


def test_added_media_need_static_prompts():
    with pytest.raises(ValueError, match="media_tokens 1 must be 0, static_tokens 0 and static_layers 0 at least 1"):
        GatedPrompts(2, 2, 8, media_added=True)
