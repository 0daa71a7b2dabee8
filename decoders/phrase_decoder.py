"""What decoders that follow phrases share: the sentence encoder, the layout, and how the network is shown pictures.

Shapes: B captions, L phrases, E their width, C latent channels, h x w cells of the latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from data.media.colouring import COLOURS
from data.parts import part_folder
from decoders.base import Decoder, DecoderSettings, notes_hidden
from decoders.image import encode_images
from decoders.layout import LAYOUT, LayoutNetwork, Pictures, Put, cells_of, load_layout, paste, read_pose
from decoders.phrases import NOTHING, NUMBER, SLOTS, THINGS, Embed, embed_captions
from decoders.shown_input import ShownInput
from encoders.sentence_encoder import SentenceEncoder

#: Features of a cell's place.
POSITION = 16
#: A picture whose name is less like what is asked for than this is not shown; projections are not exact.
LEAST_LIKENESS = 0.2


@dataclass
class Shown:
    """What the UNet is shown beside phrases: latents of pasted pictures (h, w, C), the thing in each cell (h, w)."""

    latents: torch.Tensor
    owner: np.ndarray


@cache
def sentence_encoder(folder: Path) -> SentenceEncoder:
    """The sentence encoder in ``folder``, one for all decoders: nobody changes it."""
    return SentenceEncoder.from_pretrained(folder)


class PhraseDecoder(Decoder):
    """A pipeline without a text encoder. ``embed`` gives texts' vectors; by default the sentence encoder of the
    pretrained parts does."""

    absent = {"text_encoder": None, "tokenizer": None}

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        self._embed: Embed | None = None

    @property
    def embed(self) -> Embed:
        """Texts to unit vectors (B, E)."""
        if self._embed is None:
            self._embed = sentence_encoder(part_folder("minilm"))
        return self._embed

    @embed.setter
    def embed(self, embed: Embed) -> None:
        self._embed = embed

    @property
    def text_encoder(self) -> Any:
        return self.embed

    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        return embed_captions(captions, self.embed)

    def unconditional(self) -> torch.Tensor:
        return torch.zeros(1, *self.condition_shape)


class ShownDecoder(PhraseDecoder):
    """Its UNet reads prompt tokens: phrases, and latents of known pictures that are pasted where they belong."""

    output_type = "latent"  # diffusers' pipelines of images and videos cannot call a DC-AE

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        super().__init__(pipeline, settings)
        self.layout: LayoutNetwork | None = None
        self.pictures: Pictures | None = None
        self._coloured_names: dict[str, torch.Tensor] = {}

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        # Its VAE is of another class than diffusers expects there, and says what Stable Diffusion's pipelines ask for.
        with notes_hidden("passed to AutoencoderDC", "autoencoder_dc.AutoencoderDC"):
            decoder = super().from_pretrained(folder, dtype)
        decoder.layout, decoder.pictures = load_layout(Path(folder) / LAYOUT)
        ShownInput(decoder.network).load(Path(folder)).to(dtype).requires_grad_(False).attach(decoder.network)
        return decoder

    @property
    def condition_shape(self) -> tuple[int, int]:
        return SLOTS, self.network.config.cross_attention_dim - self.network.config.in_channels - POSITION - SLOTS

    @torch.no_grad()
    def show(self, condition: torch.Tensor) -> list[list[Shown]]:
        """What is looked up and pasted for conditions (B, L, E): of each its frames, one of an image."""
        assert self.layout is not None and self.pictures is not None, "the decoder's layout is loaded with it"
        return show(self.layout, self.pictures, self.pipeline.vae, condition, self.size)

    @torch.no_grad()
    def left_to_draw(self, phrases: torch.Tensor) -> tuple[torch.Tensor, list[Shown | None]]:
        """Phrases (B, L, E) of captions without the things that :meth:`lay_over` puts there, and without how many
        there are; and where the others are to stand."""
        assert self.layout is not None and self.pictures is not None, "the decoder's layout is loaded with it"
        left, shown = phrases.clone(), []
        [nothing] = self.embed([NOTHING])
        for own in left:
            first = put_pictures(self.layout, self.pictures, own)[0]
            for put in first:
                if put.picture is not None:
                    own[2 * put.thing : 2 * put.thing + 2] = 0
                    own[NUMBER] = 0
            unknown = [put for put in first if put.picture is None]
            if not unknown:
                own[0] = nothing
            shown += show_pasted(self.pipeline.vae, self.pictures, [unknown], self.size) if unknown else [None]
        return left, shown

    @torch.no_grad()
    def lay_over(self, frames: Sequence[np.ndarray], phrases: torch.Tensor) -> list[np.ndarray]:
        """Frames uint8 (H, W, 3) of one medium under the known pictures that its phrases (L, E) name, each in the
        colour that is asked for. Where no picture is known, what was drawn stays."""
        assert self.layout is not None and self.pictures is not None, "the decoder's layout is loaded with it"
        placed = put_pictures(self.layout, self.pictures, phrases)
        coloured = [[replace(put, colour=self._colour(put, phrases)) for put in puts] for puts in placed]
        pairs = zip(frames, coloured, strict=True)
        return [paste(self.pictures.pixels, puts, self.size, onto=frame) for frame, puts in pairs]

    def _colour(self, put: Put, phrases: torch.Tensor) -> str | None:
        """The colour with whose word before its name a picture is most like the phrase that it stands for, or none."""
        if put.picture is None or self.pictures is None:
            return None
        name = self.pictures.names[put.picture]
        if name not in self._coloured_names:
            self._coloured_names[name] = self.embed([name, *(f"{colour} {name}" for colour in COLOURS)])
        likeness = self._coloured_names[name] @ phrases[2 * put.thing].float().to(self._coloured_names[name])
        return [None, *COLOURS][int(likeness.argmax())]


@torch.no_grad()
def show(layout: LayoutNetwork, pictures: Pictures, vae: Any, condition: torch.Tensor, side: int) -> list[list[Shown]]:
    """What is looked up and pasted for conditions (B, L, E) at ``side`` pixels, frame by frame."""
    puts = [put_pictures(layout, pictures, phrases) for phrases in condition]  # B, F, things
    shown = iter(show_pasted(vae, pictures, [frame for each in puts for frame in each], side))
    return [[next(shown) for _ in each] for each in puts]


@torch.no_grad()
def show_pasted(vae: Any, pictures: Pictures, puts: Sequence[Sequence[Put]], side: int) -> list[Shown]:
    """What stands in each of some frames, pasted, as the UNet is shown it."""
    pasted = [paste(pictures.pixels, each, side) for each in puts]
    latents = encode_images(vae, pasted).permute(0, 2, 3, 1)  # (B, h, w, C)
    return [Shown(own, cells_of(each, own.shape[0])) for own, each in zip(latents, puts, strict=True)]


@torch.no_grad()
def put_pictures(layout: LayoutNetwork, pictures: Pictures, phrases: torch.Tensor) -> list[list[Put]]:
    """For each frame where what stands for the phrases (L, E) of one caption, and its picture where one is known."""
    places, things = layout(phrases[None].float())
    frames: list[list[Put]] = [[] for _ in range(layout.config.frames or 1)]
    for place, thing in zip(places[0].tolist(), _owners(things[0], phrases), strict=True):
        if thing < THINGS and bool(phrases[2 * thing].any()):
            nearest, likeness = pictures.nearest(layout.names(phrases[2 * thing].float()))
            picture = nearest if likeness >= LEAST_LIKENESS else None
            if layout.config.frames:
                for frame, numbers in zip(frames, place, strict=True):
                    frame.append(Put.posed(read_pose(numbers), thing, picture))
            else:
                frames[0].append(Put(tuple(place), thing, picture))
    return frames


def _owners(logits: torch.Tensor, phrases: torch.Tensor) -> list[int]:
    """Which thing stands in each box, THINGS for none, by logits (Q, THINGS + 1). Whatever phrases (L, E) speak of
    stands somewhere: what would stand nowhere gets the free box that is likeliest its own."""
    owners = logits.argmax(-1)
    for thing in range(THINGS):
        free = owners == THINGS
        if bool(phrases[2 * thing].any()) and thing not in owners.tolist() and bool(free.any()):
            owners[torch.where(free, logits[:, thing], -torch.inf).argmax()] = thing
    return owners.tolist()


def prompt_tokens(condition: torch.Tensor, shown: Sequence[Shown | None] | None, config: Any) -> torch.Tensor:
    """Phrases (B, L, E) and what is shown, or None, as the UNet takes them: (B, L + h w, E + C + POSITION + L).

    Without ``shown`` nothing is shown of any; a batch of any size can then be traced.

    A phrase's token has its vector and its number; a cell's the vector of the phrase that stands there, its latents and
    its place.
    """
    channels, cells = config.in_channels, config.sample_size
    count, _, width = condition.shape
    numbers = torch.eye(SLOTS, device=condition.device).expand(count, -1, -1)
    middle = condition.new_zeros(count, SLOTS, channels + POSITION)
    phrases = torch.cat((condition.float(), middle.float(), numbers.float()), dim=-1)
    rows = torch.zeros(count, cells * cells, phrases.shape[-1], device=condition.device)
    for row, vectors, each in zip(rows, condition.float(), shown, strict=True) if shown is not None else ():
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
