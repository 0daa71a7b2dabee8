"""ImageBind-LLM (2309.03905, Sec. 3.2): the bind network, and two ways of putting what it makes into every layer.

- "attention", the released code's: a medium, plus a query of the layer, is one gated prompt without keys, added to the
  attention before ``o_proj`` (:func:`adapters.gated_prompts.prompt_attention`). The early fusion of LLaMA-Adapter V2
  (2304.15010, Sec. 4.3) is the same in the first layers, with keys.
- "words", the paper's Eq. 2: before decoder layer j, T_W becomes T_W + g_j T_I. g_j is one number, zero at the start,
  without a tanh; T_I is what the bind network makes of the medium.

Several inputs at once, and arithmetic with embeddings (Fig. 7): :func:`mix`.

Shapes: B batch, T tokens, M media of a row, H heads, D model width, E embedding width.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn
from torch.nn import functional

from adapters.visual_cache import VisualCache

if TYPE_CHECKING:
    from adapters.gated_prompts import PromptBatch

FORMS = ("rms", "legacy")
#: How the bind network's entries begin in a released checkpoint.
PUBLISHED = "image_bind_"
ENTRY = re.compile(PUBLISHED + r"(proj|(norm|f1|f2|f3)_[1-9]\d*)\.(weight|bias)")


#: Point embeddings are this much longer than the others before they are normalised (Point-Bind).
POINT_SCALE = 5.0


class BindBlock(nn.Module):
    """x + f2(silu(f1(n)) * f3(n)) with n = norm(x): RMSNorm and no biases, or, ``legacy``, LayerNorm and biases."""

    def __init__(self, width: int, inner_width: int, form: str = "rms") -> None:
        super().__init__()
        legacy = form == "legacy"
        self.norm = nn.LayerNorm(width, eps=1e-5) if legacy else nn.RMSNorm(width, eps=1e-6)
        self.f1 = nn.Linear(width, inner_width, bias=legacy)
        self.f2 = nn.Linear(inner_width, width, bias=legacy)
        self.f3 = nn.Linear(width, inner_width, bias=legacy)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        return x + self.f2(functional.silu(self.f1(normed)) * self.f3(normed))


class BindNetwork(nn.Module):
    """Unit embeddings (B, M, embedding width) -> prompts (B, M, model width).

    The paper's sizes are 1024 -> 4096, three blocks, inner width 16384. ``input_scale`` multiplies the unit
    embedding first: 1 as in the paper; sqrt(embedding width) gives coordinates of about unit size, which a
    network trained from nothing in minutes needs. ``form`` is "rms", the paper's, or "legacy", that of the first
    released checkpoints.
    """

    def __init__(
        self,
        embedding_width: int,
        width: int,
        inner_width: int,
        blocks: int = 3,
        input_scale: float = 1.0,
        form: str = "rms",
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"unknown form of the bind network {form!r}: expected {' or '.join(FORMS)}")
        self.input_scale = input_scale
        self.projection = nn.Linear(embedding_width, width)
        self.blocks = nn.ModuleList(BindBlock(width, inner_width, form) for _ in range(blocks))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        x = self.projection(embedding * self.input_scale)
        for block in self.blocks:
            x = block(x)
        return x

    @classmethod
    def from_published(cls, state: dict[str, torch.Tensor]) -> Self:
        """The bind network of an ImageBind-LLM checkpoint: entries ``image_bind_{proj,norm_i,f1_i,f2_i,f3_i}.*``.

        Sizes and form are read from the entries, others are left alone. Raises ValueError that names what is missing,
        left over or of another shape.
        """
        published = {name: value for name, value in state.items() if name.startswith(PUBLISHED)}
        for name in published:
            if not ENTRY.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no entry of ImageBind-LLM's bind network: expected {PUBLISHED}f1_1.weight"
                )
        own = {own_name(name): value for name, value in published.items()}
        for name in ("projection.weight", "blocks.0.f1.weight"):
            if name not in own:
                raise ValueError(f"no bind network of ImageBind-LLM: expected entries {PUBLISHED}proj, _norm_i, _f1_i")
        blocks = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("blocks."))
        (width, embedding_width), inner_width = own["projection.weight"].shape, len(own["blocks.0.f1.weight"])
        form = "legacy" if "blocks.0.f1.bias" in own else "rms"
        network = cls(embedding_width, width, inner_width, blocks, form=form)
        try:
            network.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"this bind network of ImageBind-LLM does not fit itself: {error}") from error
        return network


def own_name(published: str) -> str:
    """A released entry's name here: ``image_bind_f1_2.weight`` -> ``blocks.1.f1.weight``."""
    part, _, kind = published.removeprefix(PUBLISHED).partition(".")
    if part == "proj":
        return f"projection.{kind}"
    name, _, number = part.partition("_")
    return f"blocks.{int(number) - 1}.{name}.{kind}"


class MediaPrompts(nn.Module):
    """Gates and queries of the layers that see media. A part of ``GatedPrompts``."""

    injection: str
    media_layers: int
    media_tokens: int
    first_media_layer: int
    media_gate: nn.Parameter
    layer_query: nn.Parameter

    def add_media_prompts(self, heads: int, width: int) -> None:
        """Create the parameters, where media have prompts; added to words they need one gate a layer alone."""
        if self.media_tokens and self.injection == "words":
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, 1))
        elif self.media_tokens:
            self.media_gate = nn.Parameter(torch.zeros(self.media_layers, heads))
            self.layer_query = nn.Parameter(torch.randn(self.media_layers, self.media_tokens, width) * 0.02)

    def has_media(self, layer: int) -> bool:
        """Whether a layer sees media of their own."""
        return bool(self.media_tokens) and 0 <= layer - self.first_media_layer < self.media_layers

    def media_prompts(self, layer: int, media: torch.Tensor) -> torch.Tensor:
        """T_I and the layer's query: media (B, M, D) or (B, M, tokens, D) -> prompts (B, M * tokens, D)."""
        tokens = media if media.ndim == 4 else media[:, :, None]
        return (tokens + self.layer_query[layer - self.first_media_layer].to(media)).flatten(1, 2)

    def media_gate_of(self, layer: int) -> torch.Tensor:
        """tanh of the layer's gates, one a head (H,), as released."""
        return torch.tanh(self.media_gate[layer - self.first_media_layer])


def attach_to_words(language_model: nn.Module) -> None:
    """Let every decoder layer of a causal LM add the media of its ``prompt_batch``; without one nothing changes.

    Hooks do it, so no class is patched; saving, PEFT and gradient checkpointing do not notice.
    """
    for index, layer in enumerate(decoder_layers(language_model)):
        layer.register_forward_pre_hook(partial(_add_media, index), with_kwargs=True)


def decoder_layers(language_model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a causal LM of transformers. ValueError where they are not to be found."""
    decoder: Any = getattr(language_model, "get_decoder")()  # noqa: B009  # a method of every causal LM
    for name in ("layers", "h"):
        if isinstance(getattr(decoder, name, None), nn.ModuleList):
            return getattr(decoder, name)
    raise ValueError(f"no decoder layers in {type(decoder).__name__}: expected a module list named layers or h")


def word_term(batch: "PromptBatch", layer: int) -> torch.Tensor:
    """g_j T_I of Eq. 2, what a layer adds to its input (B, T, D): the mean of the media that each token sees."""
    media, visibility = batch.media, batch.visibility
    if media is None or visibility is None:
        raise ValueError("no media came in, so nothing can be added to the words")
    seen = visibility.to(media.dtype)  # (B, T, M)
    mean = torch.where(visibility.any(1)[..., None], media, 0.0)  # what no token sees may be anything
    mean = seen @ mean / seen.sum(-1, keepdim=True).clamp_min(1)
    return mean * batch.prompts.media_gate[layer - batch.prompts.first_media_layer].to(mean)


def _add_media(index: int, layer: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> tuple[tuple, dict] | None:
    batch: PromptBatch | None = keywords.get("prompt_batch")
    if batch is None or not batch.any_visible or batch.prompts.injection != "words":
        return None
    if not batch.prompts.has_media(index):
        return None
    hidden, *others = arguments
    return (hidden + word_term(batch, index).to(hidden), *others), keywords


def mix(embeddings: Sequence[torch.Tensor], weights: Sequence[float], normalise: bool = True) -> torch.Tensor:
    """Weighted mean of embeddings (..., E): sum(w_i f_i / |f_i|) / (sum(w_i) + 1e-6).

    The result is not normalised again, as in the released code: inputs that disagree give a shorter one. A weight may
    be negative, which takes that input's meaning away. ``normalise`` False keeps each input's own length. Raises
    ValueError unless there is one weight for each embedding, their sum is positive, and every value is finite.
    """
    if not embeddings or len(embeddings) != len(weights):
        raise ValueError(f"{len(weights)} weights for {len(embeddings)} embeddings: give one for each, at least one")
    if not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)} sum to {sum(weights)}: expected a positive sum")
    stacked = torch.stack(list(embeddings))  # (inputs, ..., E)
    if not stacked.isfinite().all():
        raise ValueError("an embedding holds values that are not finite")
    directions = functional.normalize(stacked, dim=-1) if normalise else stacked
    shares = stacked.new_tensor(list(weights)) / (sum(weights) + 1e-6)
    return torch.einsum("i,i...->...", shares, directions)


def image_embedding(
    modalities: Sequence[str],
    projections: Sequence[torch.Tensor],
    weights: Sequence[float],
    cache: VisualCache | None = None,
) -> torch.Tensor:
    """What drives an unCLIP decoder (decoders.image): (B, E) from projections (B, E) that are not normalised.

    ``modalities`` says what each projection is of. Each keeps its length, points divided by 5; the cache, which knows
    unit vectors, turns the direction, and the length is put back (ImageBind-LLM's image generation).
    """
    scaled = [
        value / POINT_SCALE if modality == "points" else value
        for modality, value in zip(modalities, projections, strict=True)
    ]
    mixed = mix(scaled, weights, normalise=False)
    if cache is None:
        return mixed
    length = mixed.norm(dim=-1, keepdim=True)
    return cache(mixed / length) * length
