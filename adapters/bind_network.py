"""The bind network: from the joint embedding space to the width of the language model (2309.03905, Sec. 3.2.1)."""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional

FORMS = ("rms", "legacy")
#: How the bind network's entries begin in a released checkpoint.
PUBLISHED = "image_bind_"
ENTRY = re.compile(PUBLISHED + r"(proj|(norm|f1|f2|f3)_[1-9]\d*)\.(weight|bias)")


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
    def from_published(cls, state: dict[str, torch.Tensor]) -> BindNetwork:
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
