"""The video decoder that is shown known pictures in each frame (decoders.phrase_video): the image UNet in time.

Shapes: B videos, F frames, C latent channels, h x w cells, L phrases.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.models.unets.unet_motion_model import UNetMotionModel

from data import things
from data.poses import Pose
from data.things.motion_rendering import FRAME_RATE, FRAMES, pose_of
from decoders.layout import Put
from train.foundations.components import channels_last, load_component
from train.foundations.diffusion.captioned_flow import CaptionedFlow
from train.foundations.diffusion.image_diffusion import load_unet
from train.foundations.diffusion.phrase_diffusion import PhraseFlow, PhraseTask, ShownLatents, picture_rows
from train.foundations.diffusion.video_diffusion import VideoDiffusionTask, extend_in_time
from train.settings import setting


class PhraseVideoTask(PhraseTask, VideoDiffusionTask):
    """Trains the UNetMotionModel of a PhraseVideoDecoder; its layout is trained apart (recipe video_layout)."""

    @dataclass(frozen=True)
    class Settings(VideoDiffusionTask.Settings):
        data: Any = setting([{"things": True}], help="only the world of things has pictures to show")
        pool: int = setting(1536, low=1, help="videos, encoded once")
        shown: float = setting(0.9, low=0, high=1, help="share of videos whose things the network is shown")
        box_noise: float = setting(0.01, low=0, help="deviation of the poses in which it is shown them")
        condition_noise: float = setting(0.02, low=0, help="deviation of the noise on phrases")

    settings: Settings
    frames: ClassVar[int] = FRAMES
    rate: ClassVar[float | None] = FRAME_RATE

    def build(self) -> None:
        super().build()
        rows = picture_rows()

        def puts(index: int) -> list[list[Put]]:
            rng = np.random.default_rng((self.pool.stream.seed, index, 7))
            return video_puts(self.scene(index), rows, self.settings.box_noise, rng)

        self.dataset = ShownLatents(self.captioned, *self.shown_pictures(puts), self.settings)

    def build_flow(self, latents: torch.Tensor, text_encoder: Any) -> CaptionedFlow:
        chosen, self.embed = self.settings, text_encoder
        if chosen.start:
            folder = (self.model_dir / chosen.start).parent
            unet = load_component(UNetMotionModel, self.model_dir / chosen.start, "video UNet", "phrase_video")
        else:
            folder = self.model_dir / "image_decoder"
            image_unet = load_unet(folder / "unet")
            unet = extend_in_time(image_unet, latents.shape[1], chosen.motion_heads)
        return PhraseVideoFlow(channels_last(unet), chosen, folder)


class PhraseVideoFlow(PhraseFlow):
    """A UNet that reads the prompt tokens of every frame (B F, L + h w, ...)."""

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return super().velocity(noisy.transpose(1, 2), timestep, condition).transpose(1, 2)


def video_puts(
    scene: things.VideoScene, rows: dict[str, int], noise: float, rng: np.random.Generator
) -> list[list[Put]]:
    """In each frame the things of a video in their poses, all a little beside where they are, and their pictures."""
    shifts = [rng.normal(0, noise, 4) for _ in scene.moving]
    frames = []
    for frame in range(FRAMES):
        poses = [pose_of(moving, frame / (FRAMES - 1), scene.jitter) for moving in scene.moving]
        frames.append(
            [
                Put.posed(_shifted(pose, shift), number, rows.get(moving.placed.thing))
                for number, (moving, pose, shift) in enumerate(zip(scene.moving, poses, shifts, strict=True))
            ]
        )
    return frames


def _shifted(pose: Pose, shift: np.ndarray) -> Pose:
    x, y, wide, tall = shift.tolist()
    return replace(pose, x=pose.x + x, y=pose.y + y, wide=pose.wide * (1 + wide), tall=pose.tall * (1 + tall))
