"""The bind network: its formula (2309.03905, Sec. 3.2), its sizes, each medium on its own."""

import torch
from torch.nn import functional

from adapters import BindNetwork


def test_the_formula_written_out():
    torch.manual_seed(0)
    bind = BindNetwork(6, 8, inner_width=10, blocks=1, input_scale=2.0)
    embedding = functional.normalize(torch.randn(2, 3, 6), dim=-1)
    block = bind.blocks[0]
    x = (2.0 * embedding) @ bind.projection.weight.T + bind.projection.bias
    normed = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * block.norm.weight
    gated = functional.silu(normed @ block.f1.weight.T) * (normed @ block.f3.weight.T)
    torch.testing.assert_close(bind(embedding), x + gated @ block.f2.weight.T)


def test_media_do_not_mix():
    bind = BindNetwork(6, 8, inner_width=10, blocks=3)
    media = torch.randn(2, 4, 6)
    torch.testing.assert_close(bind(media)[:, 2], bind(media[:, 2:3])[:, 0])


def test_the_papers_parameter_count():
    with torch.device("meta"):
        bind = BindNetwork(1024, 4096, inner_width=16384, blocks=3)
    assert sum(p.numel() for p in bind.parameters()) == 1024 * 4096 + 4096 + 3 * (3 * 4096 * 16384 + 4096)
