"""Point-BERT equals the published encoder, and clouds are grouped the same way whatever their order."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from encoders.points import PointConfig, PointEncoder, farthest_points, group_points, normalise_points

GOLDEN = Path(__file__).parents[1] / "golden" / "llama_adapter" / "point_encoder.safetensors"


def test_equals_the_published_encoder():
    golden = load_file(GOLDEN)
    config = PointConfig(
        width=48, depth=2, heads=4, groups=16, group_size=8, patch_output=32, projection_width=20, shared_width=24
    )
    model = PointEncoder(config).eval()
    model.load_state_dict({name[8:]: value for name, value in golden.items() if name.startswith("weights/")})
    points, start = golden["inputs/points"], golden["inputs/fps_start"]
    centres, groups = group_points(points, 16, 8, start)
    assert torch.equal(centres, golden["outputs/center"])
    order = (groups.sum(-1).sort(-1).values - golden["outputs/neighborhood"].sum(-1).sort(-1).values).abs().max()
    assert order < 2e-5
    with torch.no_grad():
        assert (model.enc(points, start) - golden["outputs/feat"]).abs().max() < 2e-5
        assert (model(points, start) - golden["outputs/embed"]).abs().max() < 2e-5


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
