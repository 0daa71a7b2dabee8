"""The bind network: its formula (2309.03905, Sec. 3.2.1), its sizes, each medium on its own."""

import pytest
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


def test_the_legacy_form_written_out():
    torch.manual_seed(0)
    bind = BindNetwork(6, 8, inner_width=10, blocks=1, form="legacy")
    block = bind.blocks[0]
    with torch.no_grad():
        for part in bind.parameters():
            part.copy_(torch.randn_like(part))
    x = bind.projection(torch.randn(2, 6))
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * block.norm.weight + block.norm.bias
    gated = functional.silu(block.f1(normed)) * block.f3(normed)
    torch.testing.assert_close(block(x), x + gated @ block.f2.weight.T + block.f2.bias)
    with pytest.raises(ValueError, match="'newest': expected rms or legacy"):
        BindNetwork(6, 8, inner_width=10, form="newest")


def published(bind):
    """The state dict of a bind network under ImageBind-LLM's names, with an entry of another part."""
    state = {"prefix_query.weight": torch.zeros(1)}
    for name, value in bind.state_dict().items():
        if name.startswith("projection."):
            state[f"image_bind_proj.{name.split('.')[1]}"] = value
        else:
            _, number, part, kind = name.split(".")
            state[f"image_bind_{part}_{int(number) + 1}.{kind}"] = value
    return state


@pytest.mark.parametrize("form", ["rms", "legacy"])
def test_released_entries_are_read_whatever_their_sizes(form):
    bind = BindNetwork(6, 8, inner_width=10, blocks=2, form=form)
    loaded = BindNetwork.from_published(published(bind))
    embedding = torch.randn(3, 6)
    assert torch.equal(loaded(embedding), bind(embedding))


def test_released_entries_that_do_not_fit_are_named():
    state = published(BindNetwork(6, 8, inner_width=10, blocks=2))
    with pytest.raises(ValueError, match=r"blocks\.1\.f2\.weight"):
        BindNetwork.from_published({name: value for name, value in state.items() if name != "image_bind_f2_2.weight"})
    with pytest.raises(ValueError, match=r"blocks\.0\.f2\.weight"):
        BindNetwork.from_published(state | {"image_bind_f2_1.weight": torch.zeros(8, 11)})
    with pytest.raises(ValueError, match=r"'image_bind_gate\.weight' is no entry of ImageBind-LLM's bind network"):
        BindNetwork.from_published(state | {"image_bind_gate.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no bind network of ImageBind-LLM"):
        BindNetwork.from_published({"prefix_query.weight": torch.zeros(1)})
