"""What a UNet is shown, put in where it takes its latents in, cell by cell.

Prompt tokens say what stands in each cell, but a network that gets them through attention alone hardly learns to copy
shapes from them. So they are also added, through a projection that begins as zero, to what its first convolution makes
of the latents (ControlNet, 2302.05543, Sec. 3.1).
Shapes: B images or frames, T prompt tokens of D values, of which the last h w are those of cells, C channels.
"""

from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from data.atomic import atomic_file

FILE = "shown_input.safetensors"


class ShownInput(nn.Module):
    """A projection of the cells' tokens to the channels behind the first convolution of a UNet."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.cells = network.config.sample_size
        self.projection = nn.Linear(network.config.cross_attention_dim, network.config.block_out_channels[0])
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self._added: torch.Tensor | None = None

    def attach(self, network: Any) -> Self:
        """Let the network be shown what its prompt tokens say. Hooks that replace these must be there before."""
        network.register_forward_pre_hook(self._read, with_kwargs=True)
        network.conv_in.register_forward_hook(self._add)
        return self

    def _read(self, network: Any, arguments: tuple, keywords: dict[str, Any]) -> None:
        cells = keywords["encoder_hidden_states"][:, -(self.cells**2) :]  # (B, h w, D)
        self._added = self.projection(cells.to(self.projection.weight.dtype)).transpose(1, 2)

    def _add(self, convolution: Any, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        added, self._added = self._added, None  # a network is copied now and then, and its graph cannot be
        assert added is not None
        return output + added.unflatten(2, (self.cells, self.cells)).to(output)

    def save(self, folder: Path) -> None:
        """Write :data:`FILE`, in half precision."""
        with atomic_file(Path(folder) / FILE) as aside:
            save_file({name: value.half().contiguous() for name, value in self.projection.state_dict().items()}, aside)

    def load(self, folder: Path) -> Self:
        """What :meth:`save` wrote into a decoder's folder; a folder without it leaves the projection zero."""
        if (Path(folder) / FILE).is_file():
            stored = load_file(Path(folder) / FILE)
            self.projection.load_state_dict({name: value.float() for name, value in stored.items()})
        return self
