"""The image decoder that is shown pictures of what it is to draw (decoders.phrase_image), trained by flow matching.

Shapes: B images, C latent channels, h x w cells, L phrases, E their width.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from data import things
from data.atomic import atomic_folder, write_json
from data.parts import part_folder
from data.things.backgrounds import PLACES, paint_background
from data.things.captions import BACKGROUNDS
from decoders.base import SETTINGS
from decoders.image import encode_images
from decoders.layout import LAYOUT, Put, cells_of
from decoders.phrase_decoder import POSITION, Shown, prompt_tokens, show_pasted
from decoders.phrases import NOTHING, SLOTS, embed_captions
from decoders.shown_input import ShownInput
from encoders.sentence_encoder import Remembered, SentenceEncoder
from train.foundations.components import channels_last, half_copy, weights_hash
from train.foundations.diffusion.captioned_flow import CaptionedFlow, build_unet
from train.foundations.diffusion.image_diffusion import (
    FrameDiffusionTask,
    ImageDiffusionSettings,
    ImageDiffusionTask,
    load_unet,
)
from train.foundations.diffusion.layout import known_pictures
from train.foundations.pools import BATCH, EndlessDataset, cached
from train.settings import setting

#: Images of a background alone that a network learns from.
BARE = 1024


@dataclass(frozen=True)
class PhraseDiffusionSettings(ImageDiffusionSettings):
    """Settings of :class:`PhraseDiffusionTask`."""

    data: Any = setting([{"things": True}], help="only the world of things has pictures to show")
    shown: float = setting(0.8, low=0, high=1, help="share of images whose things the network is shown")
    box_noise: float = setting(0.02, low=0, help="deviation of the boxes in which it is shown them")
    condition_noise: float = setting(0.02, low=0, help="deviation of the noise on phrases: projections are not exact")
    bare_share: float = setting(0.0, low=0, high=1, help="share of images of a background and nothing else")
    collage: bool = setting(True, help="the decoder is to lay the known pictures over what it draws")


class PhraseTask(FrameDiffusionTask):
    """What tasks share whose UNet reads phrases and is shown pictures: the sentence encoder, and what is exported."""

    settings: Any
    embed: Remembered
    frames: ClassVar[int] = 1
    rate: ClassVar[float | None] = None  #: frames a second

    def load_text_encoder(self) -> tuple[Any, Any]:
        return None, Remembered(SentenceEncoder.from_pretrained(part_folder("minilm")))

    @property
    def flow(self) -> "PhraseFlow":
        assert isinstance(self.model, PhraseFlow)
        return self.model

    def parts(self) -> dict[str, list[torch.nn.Parameter]]:
        parts = super().parts()
        return parts | {"shown": list(self.flow.shown.parameters())}

    def tokenize(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        """Prompt tokens of captions alone, for each of their frames: (B F, L + h w, ...)."""
        phrases = embed_captions(captions, self.embed).repeat_interleave(self.frames, dim=0)
        return {"prompt": prompt_tokens(phrases, None, self.flow.unet.config)}

    def collate(self, items: list[tuple]) -> dict[str, torch.Tensor]:
        """{"latents": (B, ...), "weight": of their cells, "prompt": tokens (B F, L + h w, ...)}; an item's last entry
        says what each frame is shown, None for nothing."""
        latents, weights, captions, shown = zip(*items, strict=True)
        phrases = embed_captions(captions, self.embed)
        phrases = phrases + self.settings.condition_noise * torch.randn_like(phrases) * phrases.any(-1, keepdim=True)
        frames = [frame for each in shown for frame in (each or [None] * self.frames)]
        batch = {"latents": torch.stack(latents).float(), "weight": torch.stack(weights).float()}
        each_frame = phrases.repeat_interleave(self.frames, dim=0)
        return batch | {"prompt": prompt_tokens(each_frame, frames, self.flow.unet.config)}

    def scene(self, index: int) -> Any:
        """The scene, or the video, of item ``index`` of the pool."""
        stream: Any = self.pool.stream  # of the world of things: others have no pictures to show
        return stream.scene(index)

    def shown_pictures(self, puts: Callable[[int], list[list[Put]]]) -> tuple[torch.Tensor, np.ndarray]:
        """What the network is shown of each frame of the pool, where ``puts`` says what stands where in the frames of
        a medium: latents (count, F, h, w, C), the things of cells (count, F, h, w)."""
        pictures, size = known_pictures(self.embed), self.vae.config["sample_size"]
        cells = size // 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        several = BATCH if self.frames == 1 else 2

        def encoded() -> Iterator[np.ndarray]:
            for batch in self.pool.batches(several):
                frames = [frame for index in batch for frame in puts(index)]
                shown = torch.stack([each.latents for each in show_pasted(self.vae, pictures, frames, size)])
                yield from shown.unflatten(0, (len(batch), self.frames)).half().numpy()

        how, kind = (weights_hash(self.vae), self.settings.box_noise), f"{self.modality}-shown"
        latents = torch.from_numpy(self.pool.cached(f"{kind}-latents", encoded, *how))
        owners = (
            np.stack([cells_of(frame, cells) for frame in puts(index)]).astype(np.int8)
            for index in range(self.pool.count)
        )
        return latents, self.pool.cached(f"{kind}-owners", lambda: owners, cells, self.settings.box_noise)

    def export(self, model_dir: Path) -> None:
        """Write ``<modality>_decoder``, in half precision, with the layout that is there already."""
        networks = {"vae": half_copy(self.vae), "unet": half_copy(self.flow.unet)}
        nothing = {"text_encoder": None, "tokenizer": None}
        pipeline = self.pipeline_class(**networks, **nothing, **self.pipeline_parts(Path(model_dir)))
        target = Path(model_dir) / f"{self.modality}_decoder"
        with atomic_folder(target) as folder:
            pipeline.save_pretrained(folder, max_shard_size=self.max_shard_size)
            write_json(folder / SETTINGS, self.decoder_settings())
            self.flow.shown.save(folder)
            if (target / LAYOUT).is_dir():
                shutil.copytree(target / LAYOUT, folder / LAYOUT)

    def decoder_settings(self) -> dict[str, Any]:
        """What ``decoder.json`` says."""
        return {"conditions": "phrases", "rate": self.rate}


class PhraseDiffusionTask(PhraseTask, ImageDiffusionTask):
    """Trains the UNet of a PhraseImageDecoder; its layout network is trained apart (recipe image_layout)."""

    Settings = PhraseDiffusionSettings
    settings: PhraseDiffusionSettings

    def build(self) -> None:
        super().build()
        rows = picture_rows()

        def puts(index: int) -> list[list[Put]]:
            rng = np.random.default_rng((self.pool.stream.seed, index, 7))
            return [scene_puts(self.scene(index), rows, self.settings.box_noise, rng)]

        self.dataset = ShownLatents(self.captioned, *self.shown_pictures(puts), self.settings)
        if self.settings.bare_share:
            self.dataset = WithBare(self.dataset, self.bare_latents(), self.settings)

    def bare_latents(self) -> torch.Tensor:
        """Latents (BARE, C, h, w) of images of a background alone."""
        side = self.vae.config["sample_size"]

        def encoded() -> Iterator[np.ndarray]:
            for start in range(0, BARE, BATCH):
                numbers = range(start, min(start + BATCH, BARE))
                images = [paint_background(bare_place(i), np.random.default_rng(i), side) for i in numbers]
                yield from encode_images(self.vae, [np.asarray(image) for image in images]).half().numpy()

        key = f"bare-latents-{BARE}-{weights_hash(self.vae)}-{self.pool.stream.key}"
        return torch.from_numpy(cached(self.settings.cache_dir, key, BARE, encoded))

    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        chosen, channels = self.settings, latents.shape[1]
        self.embed = text_encoder
        if chosen.start:
            unet = load_unet(self.model_dir / chosen.start)
        else:
            width = text_encoder.encoder.width + channels + POSITION + SLOTS
            blocks = {"layers_per_block": chosen.layers_per_block, "norm_num_groups": chosen.norm_num_groups}
            levels = chosen.block_out_channels, [True] * len(chosen.block_out_channels), chosen.attention_heads
            unet = build_unet(latents[0], *levels, cross_attention_dim=width, **blocks)
        folder = (self.model_dir / chosen.start).parent if chosen.start else None
        return PhraseFlow(channels_last(unet), chosen, folder)

    def decoder_settings(self) -> dict[str, Any]:
        return super().decoder_settings() | {"collage": self.settings.collage}


def picture_rows() -> dict[str, int]:
    """Thing -> its row among the known pictures."""
    return {name: row for row, name in enumerate(things.trained_things())}


def scene_puts(scene: things.Scene, rows: dict[str, int], noise: float, rng: np.random.Generator) -> list[Put]:
    """Where the things of a scene stand, not quite, and their pictures."""
    found = []
    for number, (placed, centred) in enumerate(zip(scene.placed, things.centred_boxes(scene), strict=True)):
        box = np.array(centred) + rng.normal(0, noise, 4)
        thing = 0 if scene.layout == "several" else number
        found.append(Put(tuple(box.tolist()), thing, rows.get(placed.thing)))
    return found


@dataclass(eq=False)
class ShownLatents(EndlessDataset):
    """Items of ``captioned``, each with what the network is shown of its frames, or None."""

    captioned: Any
    latents: torch.Tensor
    owners: np.ndarray
    settings: Any

    def __len__(self) -> int:
        return len(self.captioned)

    def __getitem__(self, index: int) -> tuple:
        latents, weights, caption = self.captioned[index]
        row, rng = index % len(self.latents), np.random.default_rng((self.settings.seed, index, 8))
        if not caption or rng.random() >= self.settings.shown:
            return latents, weights, caption, None
        frames = zip(self.latents[row], self.owners[row], strict=True)
        return latents, weights, caption, [Shown(each, owner) for each, owner in frames]


def bare_place(number: int) -> str:
    """The place of background ``number``: every other one is plain."""
    return "" if number % 2 else list(PLACES)[number // 2 % len(PLACES)]


@dataclass(eq=False)
class WithBare(EndlessDataset):
    """Items of ``items``, a share of them replaced by a background with nothing before it."""

    items: ShownLatents
    bare: torch.Tensor
    settings: PhraseDiffusionSettings

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple:
        item, rng = self.items[index], np.random.default_rng((self.settings.seed, index, 9))
        if rng.random() >= self.settings.bare_share:
            return item
        number = int(rng.integers(len(self.bare)))
        place = bare_place(number)
        caption = f"{NOTHING}, {BACKGROUNDS[place]}" if place else NOTHING
        return self.bare[number], torch.ones_like(item[1]), caption, None


class PhraseFlow(CaptionedFlow):
    """A UNet that reads prompt tokens, and is shown those of cells where its latents come in; ``folder`` is that of a
    decoder whose shown input goes on, None = one that is zero."""

    def __init__(self, unet: torch.nn.Module, settings: Any, folder: Path | None) -> None:
        super().__init__(unet, torch.nn.Identity(), settings.condition_noise, settings.shift)
        shown = ShownInput(unet)
        self.shown = (shown if folder is None else shown.load(folder)).attach(unet)

    def condition(self, prompt: torch.Tensor) -> torch.Tensor:
        return prompt

    def noisy(self, condition: torch.Tensor) -> torch.Tensor:
        return condition  # the phrases have their noise already
