"""Point-BERT: point clouds into the shared space, as Point-Bind and ImageBind-LLM use it (2309.00615, 2309.03905).

Farthest-point sampling picks group centres, their nearest neighbours form patches, a small PointNet turns each
patch into a token, a transformer reads the tokens. Names follow the published state dict.
Legend: B batch, N points, G groups, M points a group, D width, E width of the shared space.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from data.strict import setting
from encoders.base import check_state, read_state
from encoders.imagebind_blocks import FeedForward


@dataclass(frozen=True)
class PointConfig:
    """Sizes of a point encoder; the defaults are the published ones."""

    width: int = setting(384, low=1)
    depth: int = setting(12, low=0)
    heads: int = setting(6, low=1)
    groups: int = setting(512, low=1)
    group_size: int = setting(32, low=1)
    patch_widths: tuple[int, int, int] = setting((128, 256, 512), low=1)
    patch_output: int = setting(256, low=1)
    position_width: int = setting(128, low=1)
    projection_width: int = setting(512, low=1)
    shared_width: int = setting(1024, low=1)
    points: int = setting(8192, low=1)
    head_dropout: float = setting(0.5, low=0, below=1)


def normalise_points(points: torch.Tensor) -> torch.Tensor:
    """Centre each cloud and scale it to the unit sphere: (..., N, 3) -> (..., N, 3)."""
    centred = points - points.mean(dim=-2, keepdim=True)
    radius = centred.norm(dim=-1).amax(dim=-1)[..., None, None]
    return centred / radius.clamp_min(1e-9)


def farthest_points(points: torch.Tensor, count: int, start: torch.Tensor | None = None) -> torch.Tensor:
    """Indices (B, count) of points (B, N, 3) that are far from each other.

    ``start`` (B,) is the first index; without it the point farthest from the origin, so that the choice does not
    depend on the order of the points.
    """
    batch, _, _ = points.shape
    rows = torch.arange(batch, device=points.device)
    current = points.square().sum(-1).argmax(-1) if start is None else start
    nearest = torch.full(points.shape[:2], float("inf"), device=points.device)
    chosen = torch.empty(batch, count, dtype=torch.long, device=points.device)
    for index in range(count):
        chosen[:, index] = current
        distance = (points - points[rows, current][:, None]).square().sum(-1)  # (B, N)
        nearest = torch.minimum(nearest, distance)
        current = nearest.argmax(-1)
    return chosen


def gather(points: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """points (B, N, C) at indices (B, ...) -> (B, ..., C)."""
    rows = torch.arange(points.shape[0], device=points.device).view(-1, *[1] * (indices.ndim - 1))
    return points[rows, indices]


def group_points(
    points: torch.Tensor, groups: int, group_size: int, start: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (B, G, 3) and their nearest neighbours relative to them (B, G, M, 3)."""
    if points.shape[1] < max(groups, group_size):
        raise ValueError(f"{points.shape[1]} points are too few for {groups} groups of {group_size}")
    centres = gather(points, farthest_points(points, groups, start))
    distances = torch.cdist(centres, points)  # (B, G, N)
    neighbours = gather(points, distances.topk(group_size, largest=False).indices)
    return centres, neighbours - centres[:, :, None]


class PatchPointNet(nn.Module):
    """A small PointNet over each group: (B, G, M, 3) -> (B, G, output)."""

    def __init__(self, widths: tuple[int, int, int], output: int):
        super().__init__()
        first, middle, last = widths
        self.first_conv = nn.Sequential(
            nn.Conv1d(3, first, 1), nn.BatchNorm1d(first), nn.ReLU(inplace=True), nn.Conv1d(first, middle, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(2 * middle, last, 1), nn.BatchNorm1d(last), nn.ReLU(inplace=True), nn.Conv1d(last, output, 1)
        )

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        batch, count, size, _ = groups.shape
        features = self.first_conv(groups.flatten(0, 1).transpose(1, 2))  # (B * G, middle, M)
        overall = features.amax(dim=2, keepdim=True).expand(-1, -1, size)
        features = self.second_conv(torch.cat([overall, features], dim=1))  # (B * G, output, M)
        return features.amax(dim=2).view(batch, count, -1)


class PointAttention(nn.Module):
    """Self-attention without a bias on queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, L, D) -> (B, L, D)
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class PointBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = PointAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PointTransformer(nn.Module):
    """Point-BERT's encoder."""

    def __init__(self, config: PointConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = PatchPointNet(config.patch_widths, config.patch_output)
        self.reduce_dim = nn.Linear(config.patch_output, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Sequential(
            nn.Linear(3, config.position_width), nn.GELU(), nn.Linear(config.position_width, width)
        )
        self.blocks = nn.ModuleDict(
            {"blocks": nn.ModuleList(PointBlock(width, config.heads) for _ in range(config.depth))}
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, points: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        """Clouds (B, N, 3) -> class token and maximum over the others (B, 2 * D)."""
        x = self.tokens(points, start)
        return torch.cat([x[:, 0], x[:, 1:].amax(dim=1)], dim=-1)

    def tokens(self, points: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        """Clouds (B, N, 3) -> class token and a token for each group (B, 1 + G, D)."""
        centres, groups = group_points(points, self.config.groups, self.config.group_size, start)
        tokens = self.reduce_dim(self.encoder(groups))  # (B, G, D)
        positions = self.pos_embed(centres)
        first = self.cls_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        first_position = self.cls_pos.to(positions.dtype).expand(tokens.shape[0], -1, -1)
        x, positions = torch.cat([first, tokens], dim=1), torch.cat([first_position, positions], dim=1)
        for block in cast(nn.ModuleList, self.blocks["blocks"]):
            x = block(x + positions)  # positions are added again before every block
        return self.norm(x)


class PointEncoder(nn.Module):
    """Point-BERT, its projection and the head of the shared space."""

    def __init__(self, config: PointConfig):
        super().__init__()
        self.config = config
        self.enc = PointTransformer(config)
        self.pc_projection = nn.Parameter(torch.empty(2 * config.width, config.projection_width))
        nn.init.normal_(self.pc_projection, std=(2 * config.width) ** -0.5)
        self.head = nn.Sequential(
            nn.LayerNorm(config.projection_width, eps=1e-6),
            nn.Dropout(config.head_dropout),
            nn.Linear(config.projection_width, config.shared_width, bias=False),
        )

    def forward(self, points: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        """(B, N, 3), centred and of unit radius -> unit vectors (B, E). ``start``: see :func:`farthest_points`."""
        return F.normalize(self.project(points, start), dim=-1)

    def project(self, points: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        """As :meth:`forward`, before the normalisation."""
        return self.head(self.enc(points, start) @ self.pc_projection)


def load_points(path: str | Path, config: PointConfig | None = None) -> PointEncoder:
    """A published point encoder with the names of :class:`PointEncoder`, in evaluation mode.

    Raises ValueError that names what does not fit.
    """
    encoder = PointEncoder(PointConfig() if config is None else config)
    state, expected = (
        {name: value for name, value in values.items() if not name.endswith("num_batches_tracked")}
        for values in (read_state(Path(path)), encoder.state_dict())
    )
    check_state(state, expected, str(path))
    encoder.load_state_dict(state)
    return encoder.eval()
