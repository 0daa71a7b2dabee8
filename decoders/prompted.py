"""What decoders share whose pipelines turn captions into conditions by themselves (``encode_prompt``).

The condition is the pipeline's token states, zeros behind the end of a short caption. A pooled embedding that the
pipeline takes besides is the last token, with zeros behind it up to the width, as for Stable Diffusion XL. Where the
pipeline masks padding, tokens near zero are what is masked.

Shapes: B batch, L condition tokens, D width of a condition token, P width of a pooled embedding.
"""

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch.nn import functional

from decoders.base import Decoder, DecoderSettings, notes_hidden

#: Share of the longest token's length below which a token is padding. Imitated zeros are near zero, not zero.
PADDING = 0.1


class PromptedDecoder(Decoder):
    """A pipeline with ``encode_prompt``. Steps, guidance, length and size are the defaults of its ``__call__`` where
    its folder says nothing else."""

    pooled: ClassVar[bool] = False  #: whether the last token is a pooled embedding
    masked: ClassVar[bool] = False  #: whether the pipeline masks padding
    negative: ClassVar[bool] = True  #: whether it takes an unconditional embedding
    width_key: ClassVar[str]  #: name of D in the network's configuration
    pooled_width_key: ClassVar[str] = "pooled_projection_dim"

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        usual = call_defaults(pipeline)
        self.default_steps, self.default_guidance = usual["num_inference_steps"], usual["guidance_scale"]
        super().__init__(pipeline, settings)
        #: The most tokens of a caption.
        self.tokens: int = self.settings.tokens or usual.get("max_sequence_length", 0)

    @property
    def condition_shape(self) -> tuple[int, int]:
        return self.tokens + self.pooled, self.network.config[self.width_key]

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        with notes_hidden("was truncated"):
            states, mask, pooled = self.encode(list(captions))
        if mask is not None:
            states = states * mask[..., None].to(states)
        if pooled is None:
            return states
        last = functional.pad(pooled, (0, states.shape[-1] - pooled.shape[-1]))
        return torch.cat([states, last[:, None].to(states)], dim=1)

    @abstractmethod
    def encode(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Token states (B, L, D), their mask (B, L) and the pooled embeddings (B, P), None where there are none."""

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        own = self._named("", condition)
        return own | (self._named("negative_", unconditional) if self.negative else {})

    def _named(self, prefix: str, condition: torch.Tensor) -> dict[str, torch.Tensor]:
        states, pooled = self.parts(condition)
        named = {f"{prefix}prompt_embeds": states}
        if pooled is not None:
            named[f"{prefix}pooled_prompt_embeds"] = pooled
        if self.masked:
            named[f"{prefix}prompt_attention_mask"] = padding_mask(states)
        return named

    def parts(self, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Conditions (B, L, D) -> token states, and pooled embeddings (B, P) where there are any."""
        if not self.pooled:
            return condition, None
        return condition[:, :-1], condition[:, -1, : self.network.config[self.pooled_width_key]]

    def unconditional(self) -> torch.Tensor:
        """Of the empty caption; zeros for a pipeline that takes none."""
        return super().unconditional() if self.negative else torch.zeros(1, *self.condition_shape)


def call_defaults(pipeline: Any) -> dict[str, Any]:
    """The defaults of a pipeline's ``__call__`` by keyword."""
    return {name: each.default for name, each in inspect.signature(type(pipeline).__call__).parameters.items()}


def padding_mask(states: torch.Tensor) -> torch.Tensor:
    """1 where states (B, L, D) are tokens of a caption, 0 where they are zeros behind it, or nearly."""
    length = states.detach().float().norm(dim=-1)  # (B, L)
    longest = length.max(dim=1, keepdim=True).values
    mask = (length > PADDING * longest).long()
    mask[:, 0] = 1  # the softmax over no token at all would be no number
    return mask
