"""What the diffusion decoders share: flow matching, its solver, and the plumbing around a diffusers pipeline.

Flow matching: x_s = (1 - s) x_0 + s eps for a noise level s in (0, 1); the network gets t = 1000 s and predicts
the velocity eps - x_0. The solver is DPM-Solver++ in the same parametrisation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.utils import logging as diffusers_logging

from decoders.base import Decoder, DecoderSettings, OnBlock, OnStep, class_name, read_decoder_settings

TRAIN_TIMESTEPS = 1000
#: What a network may have been trained to predict.
PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")

#: (noisy latents, timesteps (B,)) -> predicted velocity, of the latents' shape.
Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def flow_scheduler(shift: float = 1.0) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ for flow matching; ``shift`` > 1 spends more of the steps at high noise."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
        steps_offset=1,  # without effect here; Stable Diffusion's pipelines warn of any other value
    )


def noise_levels(count: int, device: torch.device, shift: float = 1.0) -> torch.Tensor:
    """Noise levels (count,) in (0, 1): the middle ones, where most is to be learnt, come most often.

    Their logits are normal, with one from each of ``count`` equally likely strata, in random order; ``shift`` > 1
    raises them all.
    """
    strata = torch.randperm(count, device=device)
    chance = ((strata + torch.rand(count, device=device)) / count).clamp(1e-4, 1 - 1e-4)
    levels = torch.sigmoid(torch.special.ndtri(chance))
    return shift * levels / (1 + (shift - 1) * levels)


def flow_loss(
    predict: Predict, latents: torch.Tensor, shift: float = 1.0, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared error of the predicted velocity at random noise levels (flow matching), a scalar.

    ``weight``, broadcast over the latents, says how much each of their elements counts; its scale does not matter.
    """
    levels = noise_levels(len(latents), latents.device, shift)  # (B,)
    noise = torch.randn_like(latents)
    spread = levels.view(-1, *[1] * (latents.ndim - 1)).to(latents.dtype)
    noisy = (1 - spread) * latents + spread * noise
    velocity = predict(noisy, levels * TRAIN_TIMESTEPS)
    error = (velocity.float() - (noise - latents).float()).square()
    return error.mean() if weight is None else (error * (weight / weight.mean())).mean()


def noise_loss(predict: Predict, latents: torch.Tensor, scheduler: Any) -> torch.Tensor:
    """A diffusion decoder's own training loss at random noise levels of latents (B, ...), a scalar.

    Flow matching, or x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps with the scheduler's a_t (2006.11239, eq. 4) and as the
    target eps, x_0, or v = sqrt(a_t) eps - sqrt(1 - a_t) x_0 (2202.00512, App. D). So it is for schedulers of the Euler
    kind too: their ``add_noise`` gives x_t / sqrt(a_t), which no network sees unscaled. Raises ValueError for an
    unknown prediction type.
    """
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise ValueError(f"prediction type {kind!r} is unknown: expected one of {', '.join(PREDICTIONS)}")
    if kind == "flow_prediction":
        return flow_loss(predict, latents, scheduler.config.get("flow_shift", 1.0))
    steps = torch.randint(scheduler.config.num_train_timesteps, (len(latents),), device=latents.device)
    noise = torch.randn_like(latents)
    share = scheduler.alphas_cumprod.to(latents.device)[steps].view(-1, *[1] * (latents.ndim - 1)).to(latents.dtype)
    signal, spread = share.sqrt(), (1 - share).sqrt()
    targets = {"epsilon": noise, "sample": latents, "v_prediction": signal * noise - spread * latents}
    predicted = predict(signal * latents + spread * noise, steps)
    return (predicted.float() - targets[kind].float()).square().mean()


class DiffusionDecoder(Decoder):
    """A decoder that is a diffusers pipeline in a folder: UNet or transformer, VAE, scheduler, text encoder.

    A subclass names the pipeline's class and says with which keywords conditions enter its ``__call__``
    (:meth:`prompt`) and its network (:meth:`predict`), and how arrays leave it.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]]

    def __init__(self, pipeline: Any, settings: DecoderSettings | None = None):
        """``pipeline`` is an instance of :attr:`pipeline_class`; its weights are frozen and put in evaluation mode."""
        super().__init__(settings)
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
        found, expected = class_name(folder), cls.pipeline_class.__name__
        if found != expected:
            raise ValueError(f"{folder} holds a {found}, and {cls.__name__} runs {expected}")
        settings = read_decoder_settings(folder)
        with loading_bar_hidden():
            pipeline = cls.pipeline_class.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
        return cls(pipeline, settings)

    def to(self, device: torch.device | str) -> Self:
        self.pipeline.to(device)
        return self

    @property
    def network(self) -> Any:
        """The diffusion network, a UNet or a transformer."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def size(self) -> int:
        """Pixels on each side of an image, or mel frames of audio."""
        size = self.network.config.sample_size
        return (size if isinstance(size, int) else size[0]) * self.pipeline.vae_scale_factor

    @property
    def condition_shape(self) -> tuple[int, int]:
        config = self.pipeline.text_encoder.config
        return config.max_position_embeddings, config.hidden_size

    def check_condition(self, condition: torch.Tensor, seeds: Sequence[int]) -> None:
        """Raise ValueError unless ``condition`` is (B, L, D) of this decoder with one seed a row."""
        if condition.ndim != 3 or tuple(condition.shape[1:]) != self.condition_shape:
            length, width = self.condition_shape
            shape = tuple(condition.shape)
            raise ValueError(f"condition of shape {shape}: the {self.modality} decoder takes (B, {length}, {width})")
        if len(seeds) != len(condition):
            raise ValueError(f"{len(seeds)} seeds for {len(condition)} conditions: give one for each")

    @torch.no_grad()
    def encode_caption(self, captions: Sequence[str]) -> torch.Tensor:
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
        self.check_condition(condition, seeds)
        condition = condition.to(self.device, self.network.dtype)
        with self._called_between_blocks(on_block):
            return self.call_pipeline(
                condition,
                generators=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
                steps=steps or self.default_steps,
                guidance=self.default_guidance if guidance is None else guidance,
                on_step=on_step,
            )

    def call_pipeline(
        self,
        condition: torch.Tensor,
        *,
        generators: list[torch.Generator],
        steps: int,
        guidance: float,
        on_step: OnStep | None,
    ) -> list[np.ndarray]:
        """Media from the pipeline's own ``__call__`` for conditions (B, L, D)."""
        unconditional = self.unconditional().to(condition).expand_as(condition)
        made = self.pipeline(
            **self.prompt(condition, unconditional),
            **self._progress(on_step, steps),
            generator=generators,
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="np",
        )[0]  # images (B, H, W, 3) in [0, 1], videos (B, F, H, W, 3) in [0, 1], or audio (B, N)
        return list(self.to_media(made))

    def prompt(self, condition: torch.Tensor, unconditional: torch.Tensor) -> dict[str, Any]:
        """Keywords of the pipeline's ``__call__`` that hold the conditions, both (B, L, D), and what it needs else."""
        return {"prompt_embeds": condition, "negative_prompt_embeds": unconditional}

    def to_media(self, made: np.ndarray) -> np.ndarray:
        """What the pipeline gives as arrays of the modality."""
        return to_uint8(made)

    def predict(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """What the network predicts for ``noisy`` latents (B, ...) at ``timestep`` (B,)."""
        return self.network(noisy, timestep, encoder_hidden_states=condition).sample

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
        networks = () if on_block is None else (self.network, self.pipeline.vae.decoder)
        lists = [
            child for network in networks for child in network.children() if isinstance(child, torch.nn.ModuleList)
        ]
        hooks = [
            block.register_forward_pre_hook(lambda *_: on_block() if on_block else None)
            for blocks in lists
            for block in blocks
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def preview(self) -> np.ndarray | None:
        """The solver's present guess at the first medium; None with solvers that keep none."""
        guess = (getattr(self.pipeline.scheduler, "model_outputs", None) or [None])[-1]
        return None if guess is None else self.draw_latents(guess[:1])

    def draw_latents(self, latents: torch.Tensor) -> np.ndarray:
        """An image uint8 (H, W, 3) of scaled latents (1, ...)."""
        vae = self.pipeline.vae
        pixels = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample  # (1, 3, H, W) in [-1, 1]
        return to_uint8(pixels[0].float().permute(1, 2, 0).cpu() / 2 + 0.5)

    def noise_loss(self, latents: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return noise_loss(lambda noisy, step: self.predict(noisy, step, condition), latents, self.pipeline.scheduler)


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


def to_uint8(pixels: torch.Tensor | np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint8, rounded."""
    return (np.clip(np.asarray(pixels, dtype=np.float32), 0, 1) * 255 + 0.5).astype(np.uint8)
