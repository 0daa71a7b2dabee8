"""Shifted sparse attention against an explicit mask: any length, group, heads and padding; training only."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters import attention as gated_attention
from adapters.long_context import FORMS, ShiftedAttention, shifted_attention
from tests.parity.longlora import visible


def states(batch, heads, kv_heads, length, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, h, length, width, generator=generator) for h in (heads, kv_heads, kv_heads)]


def by_definition(query, key, value, form, group):
    """(B, T, H, d) by an explicit mask."""
    heads, length = query.shape[1:3]
    key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    shift = 0 if form == "unshifted" else group // 2
    shifts = [0] * (heads // 2) + [shift] * (heads - heads // 2)
    sees = torch.stack([visible(length, group, form, shift) for shift in shifts])
    scores = (query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5
    return (scores.masked_fill(~sees, float("-inf")).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1), (3, 3), (6, 3), (1, 1)], ids=str)
@pytest.mark.parametrize(("length", "group"), [(1, 1), (5, 8), (16, 4), (19, 6), (20, 7), (12, 1), (9, 2)])
def test_equals_an_explicit_mask(form, heads, length, group):
    given = states(2, *heads, length)
    ours = shifted_attention(*given, ShiftedAttention(form, group).batch(length))
    torch.testing.assert_close(ours, by_definition(*given, form, group), rtol=1e-5, atol=1e-6)


PADDING = [[1] * 12, [1] * 7 + [0] * 5, [0] * 5 + [1] * 7, [0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0], [0] * 11 + [1]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [[0, 1], [0, 1, 2, 3, 4], [2, 2]], ids=["right", "any", "left"])
def test_a_padded_row_equals_the_row_alone(form, rows):
    real = torch.tensor([PADDING[row] for row in rows])
    given = states(len(rows), 4, 2, 12)
    together = shifted_attention(*given, ShiftedAttention(form, 4).batch(12, real))
    assert bool(together.isfinite().all())
    for row, mask in enumerate(real.bool()):
        alone = by_definition(*(x[row : row + 1, :, mask] for x in given), form, 4)
        torch.testing.assert_close(together[row : row + 1, mask], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_content_of_padding_has_no_effect(form):
    real = torch.tensor(PADDING)
    given = states(5, 4, 4, 12)
    other = [torch.where(real.bool()[:, None, :, None], x, 1e3 * torch.randn_like(x)) for x in given]
    plan = ShiftedAttention(form, 4).batch(12, real)
    before, after = (shifted_attention(*x, plan)[real.bool()] for x in (given, other))
    assert torch.equal(before, after)


def test_split_sees_no_future_and_wrap_does():
    given = states(1, 2, 2, 16)
    later = [x.clone() for x in given]
    for x in later[1:]:
        x[:, :, 10:] += 1.0
    for form, blind in (("split", True), ("wrap", False)):
        plan = ShiftedAttention(form, 4).batch(16)
        before, after = (shifted_attention(*x, plan)[:, :10] for x in (given, later))
        assert torch.equal(before, after) is blind, form


def test_a_share_is_of_the_padded_row():
    assert ShiftedAttention().batch(30).group == 7
    assert ShiftedAttention(group=1.0).batch(30).group == 30
    assert ShiftedAttention(group=64).batch(30).group == 64
    assert ShiftedAttention().batch(2).group == 1


@pytest.mark.parametrize("group", [0, -3, 0.0, 1.5, True])
def test_an_impossible_group_is_refused(group):
    with pytest.raises(ValueError, match="group must be"):
        ShiftedAttention(group=group)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"unknown form 'roll'.*expected one of split, wrap"):
        ShiftedAttention("roll")


# -- in a model ---------------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    config._attn_implementation = gated_attention.register()
    return LlamaForCausalLM(config)


IDS = torch.arange(24).view(2, 12) % 32
PLAN = ShiftedAttention(group=4).batch(12)


def test_evaluation_is_dense(model):
    model.eval()
    assert torch.equal(model(IDS, shifted_attention=PLAN).logits, model(IDS).logits)


def test_training_is_not(model):
    model.train()
    sparse, dense = model(IDS, shifted_attention=PLAN).logits, model(IDS).logits
    assert torch.equal(sparse[:, :2], dense[:, :2]), "no border stands before the third token"
    assert not torch.allclose(sparse[:, 4:], dense[:, 4:], atol=1e-4)


def test_a_pass_after_a_cache_is_dense(model):
    model.train()
    cache = model(IDS[:, :11], use_cache=True).past_key_values
    last = model(IDS[:, 11:], past_key_values=cache, shifted_attention=PLAN).logits
    torch.testing.assert_close(last, model(IDS).logits[:, 11:])


def test_checkpointing_gives_the_same_gradients(model):
    def gradients():
        model.zero_grad()
        model(IDS, shifted_attention=PLAN, use_cache=False).logits.square().mean().backward()
        return [p.grad.clone() for p in model.parameters()]

    model.train()
    plain = gradients()
    model.activation_checkpointing_enable()
    for ours, expected in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_layer_that_sees_less_than_a_group_stays_as_it_is(model):
    layer = model.model.layers[0].self_attn.train()
    given = states(1, 4, 2, 12)
    function = gated_attention.gated_prompt_attention
    mask = torch.ones(12, 12, dtype=torch.bool).tril().triu(-2)[None, None]
    narrow, _ = function(layer, *given, mask, shifted_attention=PLAN, sliding_window=3)
    assert torch.equal(narrow, function(layer, *given, mask)[0])
    wide, _ = function(layer, *given, mask, shifted_attention=PLAN, sliding_window=4)
    assert torch.equal(wide, shifted_attention(*given, PLAN))


def test_capped_scores_are_refused(model):
    layer = model.model.layers[0].self_attn.train()
    with pytest.raises(ValueError, match=r"softcap is 30\.0"):
        gated_attention.gated_prompt_attention(layer, *states(1, 4, 2, 12), None, shifted_attention=PLAN, softcap=30.0)
