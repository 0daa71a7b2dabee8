"""The pieces of an ImageBind tower: patch stems, position embeddings, pre-norm transformer blocks, heads.

Attribute names follow the published state dict, so that a released checkpoint loads without renaming.
Legend: B batch, L tokens, D tower width, E width of the shared space.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

TRUNK_EPSILON = 1e-6
STEM_EPSILON = 1e-5
LARGEST_LOGIT_SCALE = 100.0


class Attention(nn.Module):
    """Multi-head self-attention with packed projections and, optionally, one learned extra key and value.

    The extra pair (``bias_k``, ``bias_v``) is appended after the projection, as token L + 1 of the keys.
    """

    def __init__(self, width: int, heads: int, extra_key: bool = False):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        if extra_key:
            self.bias_k = nn.Parameter(torch.empty(1, 1, width))
            self.bias_v = nn.Parameter(torch.empty(1, 1, width))
            nn.init.xavier_normal_(self.bias_k)
            nn.init.xavier_normal_(self.bias_v)
        self.extra_key = extra_key
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: torch.Tensor, causal: bool = False) -> torch.Tensor:  # (B, L, D) -> (B, L, D)
        query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if self.extra_key:
            batch = x.shape[0]
            key = torch.cat([key, self.bias_k.to(key.dtype).expand(batch, -1, -1)], dim=1)  # (B, L + 1, D)
            value = torch.cat([value, self.bias_v.to(value.dtype).expand(batch, -1, -1)], dim=1)
        query, key, value = (  # (B, heads, L, D / heads)
            tensor.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tensor in (query, key, value)
        )
        attend = _attend_in_steps if self.training and x.device.type == "cpu" else F.scaled_dot_product_attention
        return self.out_proj(attend(query, key, value, is_causal=causal).transpose(1, 2).flatten(2))


def _attend_in_steps(query, key, value, is_causal: bool) -> torch.Tensor:
    """Attention written out: on a CPU the fused kernel's backward pass costs twice as much on a hundred tokens."""
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))  # (B, heads, L, keys)
    if is_causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    return torch.matmul(torch.softmax(scores, dim=-1, dtype=scores.dtype), value)


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, width: int, ratio: int = 4):
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block with stochastic depth while training."""

    def __init__(self, width: int, heads: int, extra_key: bool, drop_path: float = 0.0):
        super().__init__()
        self.attn = Attention(width, heads, extra_key)
        self.norm_1 = nn.LayerNorm(width, eps=TRUNK_EPSILON)
        self.mlp = FeedForward(width)
        self.norm_2 = nn.LayerNorm(width, eps=TRUNK_EPSILON)
        self.drop_path = drop_path

    def forward(self, x: torch.Tensor, causal: bool = False) -> torch.Tensor:  # (B, L, D) -> (B, L, D)
        x = x + self._dropped(self.attn(self.norm_1(x), causal))
        return x + self._dropped(self.mlp(self.norm_2(x)))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.drop_path:
            return x
        from torchvision.ops import stochastic_depth  # imported late: it takes longer than a reply

        return stochastic_depth(x, self.drop_path, "row")


class Trunk(nn.Module):
    """The transformer of one tower; no normalisation after the last block (the head has its own)."""

    def __init__(self, width: int, depth: int, heads: int, *, extra_key: bool, first_norm: bool, drop_path: float):
        super().__init__()
        self.pre_transformer_layer = nn.Sequential(
            nn.LayerNorm(width, eps=TRUNK_EPSILON) if first_norm else nn.Identity()
        )
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        blocks = [Block(width, heads, extra_key, rate) for rate in rates]
        self.blocks = nn.ModuleList(blocks)
        for block in blocks:
            for last in (block.attn.out_proj, block.mlp.fc2):
                nn.init.xavier_uniform_(last.weight, gain=1 / math.sqrt(2 * depth))
                nn.init.zeros_(last.bias)

    def forward(self, x: torch.Tensor, causal: bool = False) -> torch.Tensor:  # (B, L, D) -> (B, L, D)
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, causal)
        return x


class PatchStem(nn.Module):
    """A convolution that cuts an image, clip or spectrogram into patch tokens: -> (B, patches, D)."""

    def __init__(self, channels: int, size: tuple[int, ...], width: int, kernel, stride):
        super().__init__()
        self.frames = size[0]
        if len(kernel) == 3:  # the published name is proj.1
            self.proj = nn.Sequential(nn.Identity(), nn.Conv3d(channels, width, kernel, stride, bias=False))
        else:
            self.proj = nn.Conv2d(channels, width, kernel, stride, bias=False)
            self.norm_layer = nn.LayerNorm(width, eps=STEM_EPSILON)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
        """Tokens and the grid they were cut from, e.g. (frames, rows, columns); a still image becomes a clip."""
        if x.ndim == 4 and isinstance(self.proj, nn.Sequential):
            x = x.unsqueeze(2).expand(-1, -1, self.frames, -1, -1)
        patches = self.proj(x)  # (B, D, *grid)
        tokens = patches.flatten(2).transpose(1, 2)
        return (self.norm_layer(tokens) if hasattr(self, "norm_layer") else tokens), tuple(patches.shape[2:])


def grid_waves(rows: int, columns: int, width: int) -> torch.Tensor:
    """Sines and cosines of row and column at falling frequencies: (rows * columns, width)."""
    frequencies = 100.0 ** (-torch.arange(width // 4) / max(width // 4, 1))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    phases = [axis.flatten()[:, None] * frequencies for axis in (column, row)]
    waves = torch.cat([wave for phase in phases for wave in (phase.sin(), phase.cos())], dim=1)
    return F.pad(waves, (0, width - waves.shape[1]))


class PositionEmbedding(nn.Module):
    """One vector for the class token and one a patch; interpolated bicubically for other image sizes."""

    def __init__(self, width: int, grid: tuple[int, ...]):
        super().__init__()
        self.grid = grid
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + math.prod(grid), width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        with torch.no_grad():
            self.pos_embed[:, 1:] += 0.5 * grid_waves(grid[-2], grid[-1], width)  # learns faster than noise alone

    def forward(self, grid: tuple[int, ...]) -> torch.Tensor:  # -> (1, 1 + patches, D)
        if grid == self.grid:
            return self.pos_embed
        if grid[:-2] != self.grid[:-2]:
            raise ValueError(f"a patch grid of {grid} does not fit positions for {self.grid}: pass clips one by one")
        rows, columns = self.grid[-2:]
        patches = self.pos_embed[:, 1:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)  # (1, D, rows, columns)
        # The published form resizes by factor, not to a size; slightly more, so that rounding keeps the last row.
        scale = tuple(new / old * (1 + 1e-12) for new, old in zip(grid[-2:], (rows, columns), strict=True))
        patches = F.interpolate(_single(patches), scale_factor=scale, mode="bicubic").to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


class PatchTokens(nn.Module):
    """Images, clips, spectrograms, depth and heat maps to tokens: class token + patches + positions."""

    def __init__(self, channels: int, size: tuple[int, ...], width: int, kernel, stride, stem_name: str):
        super().__init__()
        self.stem_name = stem_name
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.add_module(stem_name, PatchStem(channels, size, width, kernel, stride))
        grid = tuple((n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True))
        self.pos_embedding_helper = PositionEmbedding(width, grid)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # -> (B, 1 + patches, D)
        tokens, grid = self.get_submodule(self.stem_name)(x)
        first = self.cls_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens], dim=1) + self.pos_embedding_helper(grid).to(tokens.dtype)


class TextTokens(nn.Module):
    """Token ids to embeddings with positions: (B, L) -> (B, L, D). ``mask`` only mirrors the published file."""

    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.pos_embed = nn.Parameter(torch.empty(1, length, width))
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.01)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] > self.pos_embed.shape[1]:
            raise ValueError(f"a text of {ids.shape[1]} tokens is longer than the {self.pos_embed.shape[1]} allowed")
        return self.token_embedding(ids) + self.pos_embed[:, : ids.shape[1]]


class MotionSensorTokens(nn.Module):
    """Inertial measurements (B, channels, samples), cut into windows of ``kernel`` samples: -> (B, 1 + windows, D)."""

    def __init__(self, channels: int, samples: int, kernel: int, width: int):
        super().__init__()
        self.kernel = kernel
        projection, norm = nn.Linear(channels * kernel, width, bias=False), nn.LayerNorm(width, eps=STEM_EPSILON)
        self.imu_stem = nn.ModuleDict({"proj": projection, "norm_layer": norm})
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + samples // kernel, width))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = x.unfold(-1, self.kernel, self.kernel).transpose(1, 2).flatten(2)  # (B, windows, channels * kernel)
        tokens = self.imu_stem["norm_layer"](self.imu_stem["proj"](windows))
        tokens = torch.cat([self.cls_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1)
        return tokens + self.pos_embed.to(tokens.dtype)


class FirstToken(nn.Module):
    """Takes the class token: (B, L, D) -> (B, D)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0]


class TextHead(nn.Module):
    """Normalises and projects the last token of each text: the one with the largest id."""

    def __init__(self, width: int, shared_width: int):
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=TRUNK_EPSILON), nn.Linear(width, shared_width, bias=False))

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:  # (B, L, D), (B, L) -> (B, E)
        rows = torch.arange(x.shape[0], device=x.device)
        return self.proj(x[rows, ids.argmax(dim=-1)])


class Normalise(nn.Module):
    """L2 normalisation over the last axis, in float32 at least."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(_single(x), dim=-1)


def _single(x: torch.Tensor) -> torch.Tensor:
    """float16 and bfloat16 as float32; wider types as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class LogitScale(nn.Module):
    """Multiplies by exp(log_logit_scale), at most 100; a parameter for text, a constant for the other towers."""

    def __init__(self, scale: float, learnable: bool):
        super().__init__()
        value = torch.tensor(math.log(scale))
        if learnable:
            self.log_logit_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_logit_scale", value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.log_logit_scale.exp().clamp(max=LARGEST_LOGIT_SCALE) * x
