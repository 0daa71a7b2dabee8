"""What every decoder is: a diffusers pipeline that turns a condition into media. See :class:`Decoder`.

Shapes: B batch, L condition tokens, D width of a condition token.
"""

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import diffusers
import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging

from data.modalities import MODALITIES
from data.strict import read_json, read_settings, setting
from decoders.diffusion import noise_loss

INDEX, SETTINGS = "model_index.json", "decoder.json"
#: Called after every sampling step with (steps done, steps in all). It may raise: the sampling then ends at once.
OnStep = Callable[[int, int], None]
#: Called before every block of the network, many times a step. It may do other work, and it may raise as well.
OnBlock = Callable[[], None]


@dataclass(frozen=True)
class DecoderSettings:
    """What the optional ``decoder.json`` in a decoder's folder may set; None = as the decoder's class says."""

    steps: int | None = setting(None, low=1, high=1000, help="sampling steps")
    guidance: float | None = setting(None, low=0, high=100, help="scale of classifier-free guidance")
    frames: int | None = setting(None, low=1, help="frames of a video")
    rate: float | None = setting(None, above=0, help="frames or samples a second")
    size: int | None = setting(None, low=8, help="pixels on each side of an image or a video")
    seconds: float | None = setting(None, above=0, help="of a sound")
    tokens: int | None = setting(None, low=1, help="of a caption, in its condition")
    collage: bool = setting(False, help="lay known pictures over what is drawn; see decoders.phrase_image")
    animated: bool = setting(False, help="a video is an image in which pictures move; see decoders.phrase_animation")
    conditions: str = setting("text", choices=("text", "phrases"), help="what it follows; see decoders.phrase_image")


class Decoder(ABC):
    """Turns a condition, the output of a text encoder or of an output projection, into media of one modality.

    The condition is what the decoder's own text encoder gives for a caption, so whatever imitates that text
    encoder can drive the decoder (NExT-GPT, 2309.05519, Sec. 3 and 4.2: decoding-side alignment).

    A subclass names the class of the pipeline (UNet or transformer, VAE, scheduler, text encoder), or the name of one
    that is imported when it is first needed, and says with which
    keywords conditions enter its ``__call__`` (:meth:`prompt`) and its network (:meth:`predict`), and how arrays leave
    it.
    """

    modality: ClassVar[str]  #: what it generates, a name in ``data.modalities.MODALITIES``
    pipeline_class: ClassVar[type[DiffusionPipeline] | str]
    #: What the pipeline is to give; :meth:`to_media` takes it.
    output_type: ClassVar[str] = "np"
    #: Components that the pipeline does without, each None: diffusers wants to be told.
    absent: ClassVar[dict[str, None]] = {}
    #: How it samples where nothing else is asked for.
    default_steps: int = 12
    default_guidance: float = 2.5

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None) -> None:
        """``pipeline`` is an instance of :attr:`pipeline_class`; its weights are frozen and put in evaluation mode."""
        self.settings = settings or DecoderSettings()
        self.default_steps = self.settings.steps or self.default_steps
        if self.settings.guidance is not None:
            self.default_guidance = self.settings.guidance
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)
        for component in pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                component.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Load a folder that the pipeline's ``save_pretrained`` wrote; half-precision weights become ``dtype``.

        Raises ValueError where the folder holds a pipeline of another class, or settings that cannot be.
        """
        kind: Any = cls.pipeline_class
        found, expected = class_name(folder), kind if isinstance(kind, str) else kind.__name__
        if found != expected:
            raise ValueError(f"{folder} holds a {found}, and {cls.__name__} runs {expected}")
        settings = decoder_settings(folder)
        with loading_bar_hidden():
            kind = getattr(diffusers, kind) if isinstance(kind, str) else kind
            pipeline = kind.from_pretrained(
                str(folder), dtype=dtype, local_files_only=True, trust_remote_code=False, **cls.absent
            )
        return cls(pipeline, settings)

    def to(self, device: torch.device | str) -> Self:
        """Move the weights to ``device``."""
        self.pipeline.to(device)
        return self

    @property
    def rate(self) -> float | None:
        """Frames or samples a second of what it generates; None for media without time."""
        return self.settings.rate or MODALITIES[self.modality].rate

    @property
    def network(self) -> Any:
        """The diffusion network, a UNet or a transformer."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def text_encoder(self) -> Any:
        """What reads captions."""
        return self.pipeline.text_encoder

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def size(self) -> int:
        """Pixels on each side of an image, or mel frames of audio."""
        size = self.network.config.sample_size
        if self.settings.size:
            return self.settings.size
        return (size if isinstance(size, int) else size[0]) * self.pipeline.vae_scale_factor

    @property
    def condition_shape(self) -> tuple[int, int]:
        """(L, D) of one condition."""
        config = self.pipeline.text_encoder.config
        return config.max_position_embeddings, config.hidden_size

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
        """Conditions (B, L, D) of captions by the decoder's own text encoder: what output projections aim at."""
        return encode_text(self.pipeline.tokenizer, self.pipeline.text_encoder, captions)

    def unconditional(self) -> torch.Tensor:
        """Condition (1, L, D) of the empty caption, for classifier-free guidance."""
        return self.encode_caption([""])

    @torch.no_grad()
    def decode(
        self,
        condition: torch.Tensor,
        *,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance: float | None = None,
        on_step: OnStep | None = None,
        on_block: OnBlock | None = None,
    ) -> list[np.ndarray]:
        """One medium for each condition (B, L, D), with noise from its seed, whatever the rest of the batch.

        The arrays are those of ``data.modalities``: images uint8 (H, W, 3), videos uint8 (F, H, W, 3), audio float32
        (N,) in [-1, 1]. ``steps`` and ``guidance`` default to the decoder's own. Raises ValueError on a wrong shape or
        seed count.
        """
        if condition.ndim != 3 or tuple(condition.shape[1:]) != self.condition_shape:
            length, width = self.condition_shape
            shape = tuple(condition.shape)
            raise ValueError(f"condition of shape {shape}: the {self.modality} decoder takes (B, {length}, {width})")
        if len(seeds) != len(condition):
            raise ValueError(f"{len(seeds)} seeds for {len(condition)} conditions: give one for each")
        condition = condition.to(self.device, self.network.dtype)
        unconditional = self.unconditional().to(condition).expand_as(condition)
        steps = steps or self.default_steps
        with self._called_between_blocks(on_block):
            made = self.pipeline(
                **({"height": self.size, "width": self.size} if self.settings.size else {})
                | self.prompt(condition, unconditional),
                **self._progress(on_step, steps),
                generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
                num_inference_steps=steps,
                guidance_scale=self.default_guidance if guidance is None else guidance,
                output_type=self.output_type,
            )[0]  # images (B, H, W, 3) in [0, 1], videos (B, F, H, W, 3) in [0, 1], or audio (B, N)
        return list(self.to_media(made))

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        """Keywords of the pipeline's ``__call__`` that hold the conditions, both (B, L, D), and what it needs else."""
        return {"prompt_embeds": condition, "negative_prompt_embeds": unconditional}

    def to_media(self, made: Any) -> np.ndarray:
        """What the pipeline gives as arrays of the modality."""
        return to_uint8(made)

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """What the network predicts for ``noisy`` latents (B, ...) at ``timestep`` (B,)."""
        return self.network(noisy, timestep, encoder_hidden_states=condition).sample

    @torch.no_grad()
    def preview(self, number: int = 0) -> np.ndarray | None:
        """Inside ``on_step``: an image uint8 (H, W, 3) of the solver's present guess at a medium of the batch.

        None with solvers that keep no guess.
        """
        guess = (getattr(self.pipeline.scheduler, "model_outputs", None) or [None])[-1]
        return None if guess is None else self.draw_latents(guess[number : number + 1])

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """An image uint8 (H, W, 3) of scaled latents (1, ...)."""
        vae = self.pipeline.vae
        pixels = vae.decode(unscaled(vae, latents)).sample  # (1, 3, H, W) in [-1, 1]
        return to_uint8(pixels[0].float().permute(1, 2, 0).cpu() / 2 + 0.5)

    @abstractmethod
    def resize(self, medium: np.ndarray, rate: float | None) -> np.ndarray:
        """A medium of any size in the form in which :meth:`decode` returns it: its pixels, its frames, its seconds."""

    @abstractmethod
    def encode_media(self, media: Sequence[np.ndarray]) -> torch.Tensor:
        """Scaled latents (B, ...) of media in the form in which :meth:`decode` returns them."""

    def noise_loss(self, latents: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """The decoder's own training loss, a scalar, at random noise levels; gradients reach ``condition``."""
        return noise_loss(lambda noisy, step: self.predict(noisy, step, condition), latents, self.pipeline.scheduler)

    def _progress(self, on_step: OnStep | None, steps: int) -> dict[str, Callable]:
        """``on_step`` as the keyword by which the pipeline reports its progress; older pipelines have another."""
        if on_step is None:
            return {}
        if "callback_on_step_end" not in inspect.signature(type(self.pipeline).__call__).parameters:
            return {"callback": lambda step, _timestep, _latents: on_step(step + 1, steps)}

        def callback(_pipeline: Any, step: int, _timestep: Any, tensors: dict) -> dict:
            on_step(step + 1, steps)
            return tensors

        return {"callback_on_step_end": callback}

    @contextmanager
    def _called_between_blocks(self, on_block: OnBlock | None) -> Iterator[None]:
        """Within it, ``on_block`` is called before each block of the diffusion network and of the VAE's decoder."""
        hooks = []
        if on_block is not None:
            call: OnBlock = on_block
            parts = [part for network in (self.network, self.pipeline.vae.decoder) for part in network.children()]
            blocks = [block for part in parts if isinstance(part, torch.nn.ModuleList) for block in part]
            hooks = [block.register_forward_pre_hook(lambda *_: call()) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def class_name(folder: str | Path) -> str:
    """What the folder of a decoder says that it holds: ``_class_name`` of its ``model_index.json``.

    Raises ValueError where that file is missing or says nothing.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise ValueError(f"{folder} holds no decoder: it has no {INDEX}")
    name = read_json(path).get("_class_name")
    if not isinstance(name, str):
        raise ValueError(f"{path}: _class_name must be text, the name of a pipeline class, not {name!r}")
    return name


def decoder_settings(folder: str | Path) -> DecoderSettings:
    """What ``decoder.json`` in a decoder's folder says; the defaults where there is none. SettingsError for others."""
    path = Path(folder) / SETTINGS
    return read_settings(DecoderSettings, read_json(path), str(path)) if path.is_file() else DecoderSettings()


@contextmanager
def notes_hidden(*texts: str) -> Iterator[None]:
    """Keep notes of diffusers that hold one of these texts out of the log, and no others."""

    def other(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in texts)

    loggers = [
        logging.getLogger(name) for name in ("diffusers.pipelines.pipeline_utils", "diffusers.configuration_utils")
    ]
    for logger in loggers:
        logger.addFilter(other)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(other)


@contextmanager
def loading_bar_hidden() -> Iterator[None]:
    """Keep diffusers' progress bar over components away: a decoder loads in less time than it takes to read."""
    shown = diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            diffusers_logging.enable_progress_bar()


def encode_text(tokenizer: Any, text_encoder: torch.nn.Module, captions: Sequence[str]) -> torch.Tensor:
    """Hidden states (B, L, D) of captions padded to the tokenizer's full length, as Stable Diffusion takes them."""
    return text_encoder(caption_ids(tokenizer, captions).to(next(text_encoder.parameters()).device))[0]


def caption_ids(tokenizer: Any, captions: Sequence[str]) -> torch.Tensor:
    """Token ids (B, L) of captions, padded and cut to the tokenizer's full length L."""
    length = tokenizer.model_max_length
    padded = tokenizer(list(captions), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return padded.input_ids


def encode_latents(vae: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Scaled latents of a VAE's inputs (B, ...): the mean of the posterior, by channel less the VAE's mean over its
    deviation where it has these, less its shift, times its scaling factor."""
    encoded = vae.encode(inputs.to(vae.device, vae.dtype))
    latents = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mean
    shift, scale = _scaling(vae, latents)
    return (latents - shift) * scale


def unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`encode_latents`' scaling: what the VAE's decoder takes."""
    shift, scale = _scaling(vae, latents)
    return (latents / scale + shift).to(vae.dtype)


def _scaling(vae: Any, latents: torch.Tensor) -> tuple[Any, Any]:
    """Shift and scale of latents (B, C, ...): numbers, or by channel where a VAE has its mean and deviation."""
    mean, deviation = (
        vae.config[name] if name in vae.config else getattr(vae, name, None) for name in ("latents_mean", "latents_std")
    )
    shift, scale = vae.config.get("shift_factor") or 0, vae.config.get("scaling_factor") or 1
    if mean is None or deviation is None:
        return shift, scale
    each = (torch.as_tensor(value).to(latents).view(1, -1, *[1] * (latents.ndim - 2)) for value in (mean, deviation))
    mean, deviation = each
    return mean + shift * deviation, scale / deviation


def to_uint8(pixels: torch.Tensor | np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint8, rounded."""
    return (np.clip(np.asarray(pixels, dtype=np.float32), 0, 1) * 255 + 0.5).astype(np.uint8)
