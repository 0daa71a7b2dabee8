"""Attention in float32 under autocast: the same values as without autocast, and the function put back afterwards."""

import pytest
import torch
import torch.nn.functional as F

from train.precision import full_precision_attention


def test_attention_is_float32_within_and_as_before_afterwards():
    query, key, value = (torch.randn(1, 2, 5, 8) for _ in range(3))
    fused = F.scaled_dot_product_attention
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision_attention():
            within = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        after = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert within.dtype == torch.float32 and after.dtype == torch.bfloat16
    torch.testing.assert_close(within, fused(query, key, value, is_causal=True))


def test_the_function_is_put_back_after_an_error():
    fused = F.scaled_dot_product_attention
    with pytest.raises(RuntimeError), full_precision_attention():
        raise RuntimeError
    assert F.scaled_dot_product_attention is fused
