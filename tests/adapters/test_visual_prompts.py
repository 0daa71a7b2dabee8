"""The visual path: shapes, one picture does not see another, refusals. Its numbers are held by tests/parity."""

import pytest
import torch

from adapters import GatedPrompts, PromptBatch, VisualPrompts


def small():
    torch.manual_seed(0)
    return VisualPrompts(feature_width=6, width=8, tokens=3, inner_width=12, blocks=2, heads=2).eval()


def test_the_released_sizes():
    with torch.device("meta"):
        path = VisualPrompts(feature_width=768, width=4096)
    assert (path.query.shape, len(path.blocks), path.blocks[0].self_attn.num_heads) == ((10, 768), 8, 16)
    assert path.blocks[0].norm1.eps == path.output_norm.eps == 1e-5
    assert sum(p.numel() for p in path.parameters()) == 60_460_800


@torch.no_grad()
def test_each_picture_is_read_alone():
    path, features = small(), torch.randn(2, 3, 5, 6)  # (B, M, N, C)
    together = path(features)
    assert together.shape == (2, 3, 3, 8)
    for row in range(2):
        for medium in range(3):
            alone = path(features[row, medium][None])[0]
            torch.testing.assert_close(together[row, medium], alone, atol=1e-5, rtol=1e-4)


def test_queries_start_apart_and_all_parameters_learn():
    path = small().train()
    prompts = path(torch.randn(1, 5, 6))
    assert (prompts[0, 0] - prompts[0, 1]).abs().max() > 1e-2
    (prompts * torch.randn_like(prompts)).sum().backward()
    assert [name for name, p in path.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="features of width 7: expected 6"):
        small()(torch.zeros(1, 5, 7))
    with pytest.raises(ValueError, match="not finite"):
        small()(torch.full((1, 5, 6), torch.nan))
    with pytest.raises(ValueError, match="inner_width 10 must be a multiple of heads 4"):
        VisualPrompts(6, 8, inner_width=10, heads=4)
    prompts = GatedPrompts(2, 2, 8, media_tokens=0, static_tokens=4, static_layers=1, media_added=True)
    with pytest.raises(ValueError, match="a medium brings 3 tokens, the gated prompts expect 4"):
        PromptBatch(prompts, torch.zeros(1, 1, 3, 8), torch.ones(1, 1, 1, dtype=torch.bool))
