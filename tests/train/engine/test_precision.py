"""Attention under autocast: the values of float32, and the function put back afterwards."""

import pytest
import torch
import torch.nn.functional as F

from train.engine.speed import FEW_SCORES, full_precision_attention

fused = F.scaled_dot_product_attention


def tensors(length: int, keys: int | None = None, heads: int = 2) -> list[torch.Tensor]:
    return [
        torch.randn(1, heads, length, 8, requires_grad=True),
        *(torch.randn(1, 2, keys or length, 8, requires_grad=True) for _ in range(2)),
    ]


def within(*args, **kwargs) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16), full_precision_attention():
        return F.scaled_dot_product_attention(*args, **kwargs)


def test_long_rows_are_float32_within_and_as_before_afterwards():
    query, key, value = tensors(150)
    assert query.shape[-2] ** 2 > FEW_SCORES
    attended = within(query, key, value, is_causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        after = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert attended.dtype == torch.float32 and after.dtype == torch.bfloat16
    torch.testing.assert_close(attended, fused(query, key, value, is_causal=True))


def test_without_autocast_short_rows_are_float32_too():
    query, key, value = tensors(5)
    with full_precision_attention():
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(attended, fused(query, key, value, is_causal=True))


@pytest.mark.parametrize(
    ("length", "keys", "settings"),
    [
        (9, 9, {"is_causal": True}),
        (4, 3, {"attn_mask": None, "scale": 0.7}),
        (4, 3, {}),
    ],
)
def test_short_rows_take_products_in_bfloat16_and_agree_with_fused_attention(length, keys, settings):
    """Values and gradients, as near as bfloat16 is."""
    given = tensors(length, keys)
    attended, wanted = within(*given, **settings), fused(*given, **settings)
    assert attended.dtype == torch.bfloat16
    torch.testing.assert_close(attended.float(), wanted, rtol=0.03, atol=0.03)
    weights = torch.randn_like(wanted)
    grads = [torch.autograd.grad((out.float() * weights).sum(), given) for out in (attended, wanted)]
    torch.testing.assert_close(grads[0], grads[1], rtol=0.05, atol=0.05)


def test_what_the_products_do_not_know_is_left_to_fused_attention():
    """Masks (a token that sees nothing gets zeros, not NaN), dropout, fewer heads of keys than of queries."""
    mask = torch.tensor([[True, False, True], [False, False, False]])
    masked = tensors(2, 3)
    torch.testing.assert_close(within(*masked, attn_mask=mask), fused(*masked, attn_mask=mask))
    assert within(*tensors(5, heads=4), enable_gqa=True).dtype == torch.float32
    assert within(*tensors(5), dropout_p=0.5).dtype == torch.float32


def test_the_function_is_put_back_after_an_error():
    with pytest.raises(RuntimeError), full_precision_attention():
        raise RuntimeError
    assert F.scaled_dot_product_attention is fused
