"""Gated prompts: who sees what. The papers' forms are held against recorded tensors in tests/parity."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters import GatedPrompts, PromptBatch
from adapters import attention as gated_attention
from adapters.gated_prompts import prompt_attention


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


@pytest.mark.parametrize("names", [("media_gate",), ("static_gate",), ("media_gate", "static_gate")])
def test_gates_start_at_zero_unless_they_are_to_be_random(names):
    settings = {"media_tokens": int("media_gate" in names), "static_tokens": 2 * ("static_gate" in names)}
    settings |= {"static_layers": 40 * ("static_gate" in names)}
    torch.manual_seed(0)
    zero, random = (GatedPrompts(40, 8, 16, **settings, gate_deviation=deviation) for deviation in (0.0, 0.5))
    for name in names:
        assert not getattr(zero, name).any()
        assert float(getattr(random, name).detach().std()) == pytest.approx(0.5, rel=0.15)


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
