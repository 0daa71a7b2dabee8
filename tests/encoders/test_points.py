"""Point-BERT besides its numbers (those are in tests/parity): grouping that depends on no order and no chance."""

import pytest
import torch

from encoders.points import PointConfig, PointEncoder, farthest_points, group_points, normalise_points


@pytest.mark.parametrize("given", [True, False])
def test_the_projection_is_the_unit_vector_before_it_is_normalised(given):
    config = PointConfig(
        width=8, depth=1, heads=2, groups=4, group_size=4, patch_widths=(4, 4, 8), patch_output=8,
        position_width=4, projection_width=8, shared_width=6, points=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = PointEncoder(config).eval()
    cloud, start = torch.randn(2, 30, 3), torch.tensor([3, 4]) if given else None
    with torch.no_grad():
        projected, unit = model.project(cloud, start), model(cloud, start)
        assert torch.equal(unit, model(cloud, start))  # nothing is drawn at random
    torch.testing.assert_close(projected / projected.norm(dim=-1, keepdim=True), unit)
    assert not torch.allclose(projected, unit)


def test_the_published_encoder_has_its_size():
    with torch.device("meta"):
        model = PointEncoder(PointConfig())
    assert model.pc_projection.shape == (768, 512)
    assert model.head[2].weight.shape == (1024, 512)
    assert len(model.enc.blocks["blocks"]) == 12


def test_sampling_does_not_depend_on_the_order():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(1, 100, 3, generator=generator)
    shuffled = points[:, torch.randperm(100, generator=generator)]
    first = points[0, farthest_points(points, 10)[0]]
    assert torch.equal(first, shuffled[0, farthest_points(shuffled, 10)[0]])


def test_normalised_clouds_have_unit_radius():
    cloud = normalise_points(torch.randn(2, 50, 3) * 7 + 3)
    assert torch.allclose(cloud.mean(1), torch.zeros(2, 3), atol=1e-5)
    assert torch.allclose(cloud.norm(dim=-1).amax(1), torch.ones(2))
    assert torch.isfinite(normalise_points(torch.zeros(1, 5, 3))).all()


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="4 points are too few for 8 groups"):
        group_points(torch.zeros(1, 4, 3), 8, 2)
