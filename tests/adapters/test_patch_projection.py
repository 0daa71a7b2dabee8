"""Projections of patch tokens: sizes, padding, what a group is. Numbers are held against NExT-GPT's in parity."""

import pytest
import torch

from adapters import PATCH_PROJECTIONS, GroupProjection

SMALL = {"inner_width": 16, "depths": (1, 1, 1), "heads": 4, "group_tokens": (6, 3, 0), "groups": (6, 3)}
SETTINGS = {"group": SMALL}


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return PATCH_PROJECTIONS[name](8, 12, **SETTINGS.get(name, {})).eval()


@pytest.mark.parametrize("name", PATCH_PROJECTIONS)
def test_shape_and_scale(name):
    projection, patches = make(name), torch.randn(2, 10, 8)
    before = projection(patches)
    assert before.shape == (2, projection.tokens or 10, 12)
    projection.scale_output(0.25)
    torch.testing.assert_close(projection(patches), 0.25 * before)


@pytest.mark.parametrize("name", PATCH_PROJECTIONS)
def test_padding_has_no_effect(name):
    projection, patches = make(name), torch.randn(2, 10, 8)
    mask = torch.arange(10) < torch.tensor([[10], [7]])
    with torch.no_grad():
        alone = projection(patches[1:, :7])
        padded = projection(patches, mask)[1:, : alone.shape[1]]
        other = projection(patches.masked_fill(~mask[..., None], 9.0), mask)[1:, : alone.shape[1]]
    torch.testing.assert_close(padded, alone, atol=1e-6, rtol=1e-5)
    assert torch.equal(padded, other)


def test_every_patch_goes_to_one_group():
    projection, seen = make("group"), []
    assign = projection.layers[0].downsample.assign
    assign.v_proj.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
    assign.proj.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][..., 0]))
    with torch.no_grad():
        projection(torch.randn(3, 10, 8))
    share = seen[0]  # count / (count + 1) of each group, because all values are one
    counts = share / (1 - share)
    torch.testing.assert_close(counts, counts.round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(counts.sum(1), torch.full((3,), 10.0), atol=1e-3, rtol=0)


def test_training_draws_the_groups_and_gradients_reach_all_parts():
    projection, patches = make("group").train(), torch.randn(2, 10, 8)
    first, second = projection(patches), projection(patches)
    assert not torch.equal(first, second)
    first.square().sum().backward()
    still = [name for name, p in projection.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias of keys adds the same to all scores of a query, which a softmax does not see.
    assert [name for name in still if not name.endswith("k_proj.bias")] == []


def test_the_papers_parameter_counts():
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in kind(1024, 4096).parameters()) for name, kind in PATCH_PROJECTIONS.items()
        }
    assert sizes["linear"] == 1024 * 4096 + 4096  # 4.2M
    assert sizes["mlp"] == sizes["mlp2x_gelu"] == sizes["linear"] + 4096 * 4096 + 4096  # 21M
    assert 52e6 < sizes["group"] < 54e6


def test_stages_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must be one a stage"):
        GroupProjection(8, 12, **SMALL | {"groups": (6, 3, 1)})
