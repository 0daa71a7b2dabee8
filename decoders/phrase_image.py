"""Images from the phrases of a caption: a StableDiffusionPipeline that is shown pictures of what it is to draw.

    condition: phrases (B, L, E) ---------------+-> prompt tokens (B, L + h w, E + C + POSITION + L) -> UNet
               -> layout: boxes and their names |
               -> nearest known pictures, pasted -> VAE: latents of each cell

Shapes: B images, L phrases, E their width, C latent channels, h x w cells of the latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from data.parts import part_folder
from decoders.base import DecoderSettings
from decoders.image import ImageDecoder, encode_images
from decoders.layout import LAYOUT, LayoutNetwork, Pictures, Put, cells_of, load_layout, paste
from decoders.phrases import SLOTS, Embed, embed_captions
from encoders.sentence_encoder import SentenceEncoder

#: Features of a cell's place.
POSITION = 16
#: A picture whose name is less like what is asked for than this is not shown.
LEAST_LIKENESS = 0.5


@dataclass
class Shown:
    """What the UNet is shown beside phrases: latents of pasted pictures (h, w, C), the thing in each cell (h, w)."""

    latents: torch.Tensor
    owner: np.ndarray


class PhraseImageDecoder(ImageDecoder):
    """See above. ``embed`` gives texts' vectors; by default the sentence encoder of the pretrained parts does."""

    absent = {"text_encoder": None, "tokenizer": None}
    output_type = "latent"  # pipelines of Stable Diffusion cannot call a DC-AE

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        self.layout: LayoutNetwork | None = None
        self.pictures: Pictures | None = None
        self._embed: Embed | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        decoder = super().from_pretrained(folder, dtype)
        decoder.layout, decoder.pictures = load_layout(Path(folder) / LAYOUT)
        return decoder

    @property
    def embed(self) -> Embed:
        """Texts to unit vectors (B, E)."""
        if self._embed is None:
            self._embed = SentenceEncoder.from_pretrained(part_folder("minilm"))
        return self._embed

    @embed.setter
    def embed(self, embed: Embed) -> None:
        self._embed = embed

    @property
    def condition_shape(self) -> tuple[int, int]:
        channels = self.network.config.in_channels
        return SLOTS, self.network.config.cross_attention_dim - channels - POSITION - SLOTS

    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        return embed_captions(captions, self.embed)

    def unconditional(self) -> torch.Tensor:
        return torch.zeros(1, *self.condition_shape)

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        shown = self.show(condition)
        empty = [None] * len(condition)
        return {
            "prompt_embeds": prompt_tokens(condition, shown, self.network.config).to(condition),
            "negative_prompt_embeds": prompt_tokens(unconditional, empty, self.network.config).to(condition),
        }

    @torch.no_grad()
    def to_media(self, made: torch.Tensor) -> np.ndarray:
        """Scaled latents (B, C, h, w) as images uint8 (B, H, W, 3)."""
        return np.stack([self.draw_latents(each[None]) for each in made])

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        tokens = prompt_tokens(condition, [None] * len(condition), self.network.config)
        return super().predict(noisy, timestep, tokens)

    @torch.no_grad()
    def show(self, condition: torch.Tensor) -> list[Shown | None]:
        """What is looked up and pasted for conditions (B, L, E)."""
        assert self.layout is not None and self.pictures is not None, "the decoder's layout is loaded with it"
        return show(self.layout, self.pictures, self.pipeline.vae, condition, self.size)


@torch.no_grad()
def show(layout: LayoutNetwork, pictures: Pictures, vae: Any, condition: torch.Tensor, side: int) -> list[Shown | None]:
    """What is looked up and pasted for conditions (B, L, E) at ``side`` pixels."""
    puts = [put_pictures(layout, pictures, phrases) for phrases in condition]
    pasted = [paste(pictures.pixels, each, side) for each in puts]
    return show_pasted(vae, pasted, puts)


@torch.no_grad()
def show_pasted(vae: Any, pasted: Sequence[np.ndarray], puts: Sequence[Sequence[Put]]) -> list[Shown | None]:
    """Pasted pictures uint8 (H, W, 3) as what the UNet is shown."""
    latents = encode_images(vae, pasted).permute(0, 2, 3, 1)  # (B, h, w, C)
    return [Shown(own, cells_of(each, own.shape[0])) for own, each in zip(latents, puts, strict=True)]


@torch.no_grad()
def put_pictures(layout: LayoutNetwork, pictures: Pictures, phrases: torch.Tensor) -> list[Put]:
    """Where what stands for the phrases (L, E) of one caption, and its picture where one is known."""
    boxes, things = layout(phrases[None].float())
    puts = []
    for box, thing in zip(boxes[0].tolist(), things[0].argmax(-1).tolist(), strict=True):
        if 2 * thing < SLOTS - 2 and bool(phrases[2 * thing].any()):
            picture, likeness = pictures.nearest(layout.names(phrases[2 * thing].float()))
            puts.append(Put(tuple(box), thing, picture if likeness >= LEAST_LIKENESS else None))
    return puts


def prompt_tokens(condition: torch.Tensor, shown: Sequence[Shown | None], config: Any) -> torch.Tensor:
    """Phrases (B, L, E) and what is shown, or None, as the UNet takes them: (B, L + h w, E + C + POSITION + L).

    A phrase's token has its vector and its number; a cell's the vector of the phrase that stands there, its latents and
    its place.
    """
    channels, cells = config.in_channels, config.sample_size
    count, width = len(condition), condition.shape[-1]
    numbers = torch.eye(SLOTS, device=condition.device).expand(count, -1, -1)
    middle = condition.new_zeros(count, SLOTS, channels + POSITION)
    phrases = torch.cat((condition.float(), middle.float(), numbers.float()), dim=-1)
    rows = torch.zeros(count, cells * cells, phrases.shape[-1], device=condition.device)
    for row, vectors, each in zip(rows, condition.float(), shown, strict=True):
        if each is None:
            continue
        owner = torch.from_numpy(each.owner).flatten().long().to(row.device)  # (h w,)
        row[:, :width] = torch.where((owner >= 0)[:, None], vectors[2 * owner.clamp_min(0)], 0.0)
        row[:, width : width + channels] = each.latents.reshape(-1, channels).float()
        row[:, width + channels : width + channels + POSITION] = _places(cells).to(row)
    return torch.cat((phrases, rows), dim=1)


def _places(cells: int) -> torch.Tensor:
    """Sines and cosines of rows and columns: (cells * cells, POSITION)."""
    steps = (torch.arange(cells) + 0.5) / cells
    waves = steps[:, None] * torch.pi * 2.0 ** torch.arange(POSITION // 4) / 2
    features = torch.cat((waves.sin(), waves.cos()), dim=-1)  # (cells, POSITION / 2)
    rows = features[:, None].expand(-1, cells, -1)
    columns = features[None].expand(cells, -1, -1)
    return torch.cat((rows, columns), dim=-1).reshape(cells * cells, -1)
