"""Flow-GRPO (2505.05470): a flow-matching image decoder learns from a judge of what it draws.

Of each caption a group of images is drawn by a solver with chance in it, a judge scores them, and steps of the paths
that led to better images than their group's become likelier. A penalty holds the network near the one it started from.

The judge here is the critic of the model folder (decoders.image_critic), which reads what captions name: number,
colour, place and so on are verifiable rewards. Reports must come from other judges: the oracles of
``nextgpt-lite evaluate`` share neither weights nor training with it.

Shapes: P captions, G images each, B = P G, L condition tokens D wide, A attributes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from decoders.image_critic import UNKNOWN, ImageCritic, load_critic
from train.foundations.autoencoders.vae import decode, load_vae
from train.foundations.components import channels_last, load_component
from train.foundations.diffusion.captioned_flow import CaptionedFlow, random_caption
from train.foundations.diffusion.image_diffusion import ImageDiffusionSettings, ImageDiffusionTask, load_unet
from train.foundations.pools import HELD_OUT_SEED, EndlessDataset, media_of
from train.rewards.advantages import group_advantages, policy_loss
from train.rewards.sde import Velocity, levels, log_probability, path, transition
from train.rewards.start import kept_start
from train.settings import RecipeError, setting
from train.worlds import MediaStream, open_world

#: Captions that name no number ask for one thing.
COUNT, ONE = "count", 0
#: The least log-probability of an attribute that counts: beyond, wrong is wrong.
LEAST_LOG_PROBABILITY = -4.0


@dataclass(frozen=True)
class FlowGrpoSettings(ImageDiffusionSettings):
    """Settings of :class:`FlowGrpoTask`."""

    start: str = setting("image_decoder/unet", help="folder in the model folder of the UNet to tune")
    empty_share: float = setting(0.0, low=0, high=1, help="captions that are empty: they ask for nothing")
    group: int = setting(8, low=2, help="images of each caption")
    solver_steps: int = setting(8, low=2, help="of a path")
    trained_steps: int = setting(2, low=1, help="of each path, by chance")
    noise: float = setting(0.7, above=0, help="a: the chance in the solver")
    guidance: float = setting(2.0, low=0, help="classifier-free guidance, as it is drawn with later; 1 = none")
    kl_weight: float = setting(0.02, low=0, help="of the distance to the network that it starts from")

    def __post_init__(self) -> None:
        if self.trained_steps >= self.solver_steps:
            limit = f"{self.solver_steps} solver_steps, of which the last has no chance in it"
            raise RecipeError(f"trained_steps is {self.trained_steps}: expected less than the {limit}")


class FlowGrpoTask(ImageDiffusionTask):
    """Tunes the UNet of an image decoder; exports ``image_decoder``."""

    Settings = FlowGrpoSettings
    settings: FlowGrpoSettings
    model: "FlowPolicy"
    reads = ("vae", "critic")

    def build(self) -> None:
        chosen = self.settings
        self.vae, self.critic = load_vae(self.model_dir, "image"), load_critic(self.model_dir)
        self.world = open_world(chosen.data)
        self.tokenizer, text_encoder = self.load_text_encoder()
        unet = channels_last(load_unet(self.model_dir / chosen.start))
        empty = self.tokenize([""])["input_ids"]
        flow = CaptionedFlow(unet, text_encoder, chosen.condition_noise, chosen.shift)
        self.model = FlowPolicy(flow, Drawing(self.vae, self.critic), empty, chosen)
        self.dataset = self._prompts(chosen.seed, held_out=False)

    def begin(self, run_dir: Path, resume: bool) -> None:
        super().begin(run_dir, resume)
        reference = self.model.reference
        reference.load_state_dict(kept_start(run_dir, resume, reference.state_dict()))

    def load_text_encoder(self) -> tuple[Any, Any]:
        """Those of the decoder: the text encoders' own folder is not part of a model that is whole."""
        decoder = self.model_dir / "image_decoder"
        text_encoder = load_component(CLIPTextModel, decoder / "text_encoder", "text encoder", "image_diffusion")
        return CLIPTokenizer.from_pretrained(decoder / "tokenizer"), text_encoder

    def _prompts(self, seed: int, held_out: bool) -> "Prompts":
        return Prompts(media_of(self.world, "image", seed, held_out), self.settings)

    @property
    def flow(self) -> CaptionedFlow:
        return self.model.flow

    def collate(self, items: Sequence[str]) -> dict[str, torch.Tensor]:
        """Captions -> {"input_ids": (P, L), "classes": (P, A)}."""
        return {**self.tokenize(items), "classes": torch.stack([wanted_classes(self.critic, text) for text in items])}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """What the critic, which was trained on, gives to images of captions that were not, drawn without chance."""
        prompts = self._prompts(HELD_OUT_SEED, held_out=True)
        batch = self.collate([prompts[index] for index in range(self.settings.held_out)])
        torch.manual_seed(HELD_OUT_SEED)
        rewards = [
            self.model.draw(batch["input_ids"][start : start + 16], batch["classes"][start : start + 16])
            for start in range(0, self.settings.held_out, 16)
        ]
        return {"reward": torch.cat(rewards).mean().item()}


@dataclass(eq=False)
class Prompts(EndlessDataset):
    """Captions of the scenes of a stream, as many as it has indices, with attributes left out by chance."""

    stream: MediaStream
    settings: FlowGrpoSettings

    def __getitem__(self, index: int) -> str:
        rng = np.random.default_rng((self.settings.seed, index, 17))
        return random_caption(self.stream, index, rng, self.settings)


def wanted_classes(critic: ImageCritic, caption: str) -> torch.Tensor:
    """Classes (A,) of what a caption names, and the number one where it names none; UNKNOWN for the others."""
    named = critic.named(caption)
    if COUNT in critic.attributes:
        named.setdefault(COUNT, ONE)
    return torch.tensor([named.get(name, UNKNOWN) for name in critic.attributes])


class Drawing(nn.Module):
    """Latents as images, and how well the critic finds in them what was asked for; frozen."""

    def __init__(self, vae: AutoencoderKL, critic: ImageCritic) -> None:
        super().__init__()
        self.vae, self.critic = channels_last(vae).requires_grad_(False), critic

    @torch.no_grad()
    def reward(self, latents: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Latents (B, ...), classes (B, A) -> the mean log-probability of what is asked for (B,)."""
        pixels = decode(self.vae, latents / self.vae.config["scaling_factor"]).clamp(-1, 1)
        size = self.critic.size
        read = self.critic.scores(functional.interpolate(pixels, (size, size), mode="area"))
        total, known = latents.new_zeros(len(latents)), (classes != UNKNOWN)
        for scores, wanted, asked in zip(read.values(), classes.T, known.T, strict=True):
            own = functional.log_softmax(scores.float(), dim=1).gather(1, wanted.clamp_min(0)[:, None])[:, 0]
            total = total + asked * own.clamp_min(LEAST_LOG_PROBABILITY)
        return total / known.sum(1).clamp_min(1)


class FlowPolicy(nn.Module):
    """The network as a policy whose actions are the solver's steps."""

    def __init__(self, flow: CaptionedFlow, drawing: Drawing, empty: torch.Tensor, settings: FlowGrpoSettings) -> None:
        super().__init__()
        self.flow, self.drawing, self.settings = flow, drawing, settings
        self.reference = copy.deepcopy(flow.unet).requires_grad_(False).eval()
        self.register_buffer("empty", empty, persistent=False)
        self.empty: torch.Tensor
        self.schedule = levels(settings.solver_steps, settings.sampling_shift)

    def forward(self, input_ids: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Captions' tokens (P, L) and classes (P, A) -> losses, and the mean reward of what was drawn."""
        chosen, count = self.settings, len(input_ids)
        condition = self.flow.noisy(self.flow.condition(input_ids)).repeat_interleave(chosen.group, dim=0)
        steps = path(
            self._velocity(self.flow.unet, condition), self._noise(len(condition)), self.schedule, chosen.noise
        )
        rewards = self.drawing.reward(steps[-1].after, classes.repeat_interleave(chosen.group, dim=0))
        advantages = group_advantages(rewards.view(count, chosen.group)).flatten()
        policy = divergence = rewards.new_zeros(())
        for number in torch.randperm(len(steps) - 1)[: chosen.trained_steps].tolist():
            step = steps[number]
            where = step.before, step.level, step.following, self.schedule[1], chosen.noise
            mean, deviation = transition(self._velocity(self.flow.unet, condition), *where)
            with torch.no_grad():
                before, _ = transition(self._velocity(self.reference, condition), *where)
            policy = policy + policy_loss(log_probability(step, mean, deviation), advantages)
            divergence = divergence + (mean - before).square().mean() / (2 * deviation**2)
        parts = {"policy": policy / chosen.trained_steps, "divergence": divergence / chosen.trained_steps}
        loss = parts["policy"] + chosen.kl_weight * parts["divergence"]
        return {"loss": loss, "reward": rewards.mean(), **{name: part.detach() for name, part in parts.items()}}

    @torch.no_grad()
    def draw(self, input_ids: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Rewards (P,) of one image of each caption, drawn without chance in the solver."""
        condition = self.flow.condition(input_ids)
        steps = path(self._velocity(self.flow.unet, condition), self._noise(len(condition)), self.schedule, 0.0)
        return self.drawing.reward(steps[-1].after, classes)

    def _noise(self, count: int) -> torch.Tensor:
        config: Any = self.flow.unet.config
        return torch.randn(count, config.in_channels, config.sample_size, config.sample_size, device=self.empty.device)

    def _velocity(self, unet: nn.Module, condition: torch.Tensor) -> Velocity:
        """The velocity of conditions (B, L, D), guided away from that of no caption."""
        guidance = self.settings.guidance
        nothing = self.flow.condition(self.empty).expand_as(condition)

        def velocity(latents: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
            if guidance == 1:
                return unet(latents, timesteps, encoder_hidden_states=condition).sample
            twice = torch.cat((latents, latents)), torch.cat((timesteps, timesteps))
            with_caption, without = unet(*twice, encoder_hidden_states=torch.cat((condition, nothing))).sample.chunk(2)
            return without + guidance * (with_caption - without)

        return velocity
