"""Point clouds for the point encoder: a fixed number of points, centred, of unit radius."""

from __future__ import annotations

import numpy as np
import torch

from encoders.points import farthest_points, normalise_points

MAX_POINTS_COMPARED = 8192


def preprocess_points(points: np.ndarray, count: int) -> torch.Tensor:
    """Any cloud (N, 3) -> float32 (count, 3), centred, of unit radius.

    Of a larger cloud points far from each other are kept, those of a smaller one are repeated.
    """
    cloud = torch.as_tensor(np.asarray(points))
    if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) == 0 or not torch.isfinite(cloud).all():
        raise ValueError(f"a point cloud of shape {tuple(cloud.shape)}: expected finite numbers (N, 3), N >= 1")
    cloud = cloud.float()
    if len(cloud) > MAX_POINTS_COMPARED:
        cloud = cloud[torch.linspace(0, len(cloud) - 1, MAX_POINTS_COMPARED).long()]
    if len(cloud) > count:
        centred = cloud - cloud.mean(dim=0)
        cloud = cloud[farthest_points(centred[None], count)[0]]
    elif len(cloud) < count:
        cloud = cloud[torch.arange(count) % len(cloud)]
    return normalise_points(cloud)
