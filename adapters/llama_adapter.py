"""LLaMA-Adapter's prompts, zero-initialised gates and all (V1, 2303.16199), and what V2's released code adds to them.

Every adapted layer has K learnable prompts of its own. They pass through the layer's frozen k and v projections (Eq. 2
to 4), get a softmax apart from that of the words (Eq. 5 to 7), are multiplied by tanh(gate) with a gate that starts at
zero, and are added to the attention of the words before ``o_proj``: :func:`adapters.gated_prompts.prompt_attention`.

Shapes: B batch, M media of a row, K prompts, H heads, D model width.
"""

import torch
from torch import nn


class StaticPrompts(nn.Module):
    """Prompts P_l and gates g_l of the last layers (Sec. 3.1 and 3.2). A part of ``GatedPrompts``."""

    layers: int
    static_layers: int
    static_tokens: int
    static_prompt: nn.Parameter
    static_gate: nn.Parameter
    static_gate_scale: nn.Parameter | None

    def add_static_prompts(self, heads: int, width: int, gate_scale: bool) -> None:
        """Create the parameters, where any layer has static prompts. ``gate_scale``: see :meth:`static_gate_of`."""
        if not self.static_tokens or not self.static_layers:
            return
        self.static_gate = nn.Parameter(torch.zeros(self.static_layers, heads))
        self.static_prompt = nn.Parameter(torch.randn(self.static_layers, self.static_tokens, width))
        self.static_gate_scale = nn.Parameter(torch.ones(self.static_layers)) if gate_scale else None

    def has_static(self, layer: int) -> bool:
        """Whether a layer is one of the last L, which have prompts."""
        return bool(self.static_tokens) and layer >= self.layers - self.static_layers

    def static_prompts(self, layer: int) -> torch.Tensor:
        """P_l of V1's Eq. 1: the layer's own prompts (1, K, D)."""
        return self.static_prompt[self._place(layer)][None]

    def added_prompts(self, layer: int, media: torch.Tensor) -> torch.Tensor:
        """V1's Eq. 10 as V2's released code has it: each prompt plus a token of the image, in the last layers.

        Media are (B, M, D) or (B, M, K, D). The prompts alone come first, for tokens that see no medium, then the sum
        for each medium: (B, (M + 1) * K, D).
        """
        tokens = media if media.ndim == 4 else media[:, :, None]
        static = self.static_prompts(layer)[:, None].to(media)  # (1, 1, K, D)
        alone = static.expand(media.shape[0], -1, -1, -1)
        return torch.cat([alone, static + tokens], dim=1).flatten(1, 2)

    def static_gate_of(self, layer: int) -> torch.Tensor:
        """tanh(g_l) of V1's Eq. 7, one a head (H,); V2's released LoRA weights have one more factor (``new_gate``)."""
        gate = torch.tanh(self.static_gate[self._place(layer)])
        return gate if self.static_gate_scale is None else gate * self.static_gate_scale[self._place(layer)]

    def _place(self, layer: int) -> int:
        return layer - self.layers + self.static_layers
