"""Trains in which pose each thing of a video stands in each frame (decoders.layout), on videos of things.

Shapes: Q boxes at most, F frames.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from data import things
from data.atomic import atomic_folder, write_json
from data.poses import Pose
from data.strict import read_json
from data.things.captions import Naming
from data.things.motion import ANIMATED, VideoScene
from data.things.motion_rendering import FRAME_RATE, FRAMES, pose_of
from decoders.base import INDEX, SETTINGS
from decoders.layout import LAYOUT, POSE, LayoutConfig, read_pose
from decoders.phrases import THINGS, embed_captions
from train.foundations.diffusion.layout import LayoutTask, SceneCaptions
from train.foundations.pools import HELD_OUT_SEED


class VideoLayoutTask(LayoutTask):
    """Poses by L1, the rest as for images.

    Exports ``video_decoder/layout``. Where no UNet in time has been trained, the image decoder's draws what stands
    still: the decoder is then a :class:`decoders.phrase_animation.PhraseAnimationDecoder`.
    """

    modality: ClassVar[str] = "video"
    frames: ClassVar[int] = FRAMES

    def captions(self, seed: int, nouns: list[str]) -> Dataset:
        return VideoCaptions(seed, nouns)

    def export(self, model_dir: Path) -> None:
        super().export(model_dir)
        images, videos = Path(model_dir) / "image_decoder", Path(model_dir) / "video_decoder"
        if (videos / INDEX).is_file() or not (images / INDEX).is_file():
            return
        with atomic_folder(videos) as folder:
            shutil.copytree(images, folder, ignore=shutil.ignore_patterns(LAYOUT), dirs_exist_ok=True)
            shutil.copytree(videos / LAYOUT, folder / LAYOUT)
            settings = read_json(folder / SETTINGS) | {"animated": True, "collage": True, "rate": FRAME_RATE}
            write_json(folder / SETTINGS, settings)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On unseen captions: those with the right number of things, and of these the mean distance of centres, sizes
        (shares of the side) and degrees."""
        network = self.model.network.eval()
        figures: dict[str, list[float]] = {"number": [], "centre": [], "size": [], "degrees": []}
        for index in range(self.settings.held_out):
            scene = things.sample_video(HELD_OUT_SEED, index)
            poses, owners = network(embed_captions([things.video_caption(scene)], self.embed))
            chosen = owners[0].argmax(-1) < THINGS
            figures["number"].append(int(chosen.sum()) == len(scene.moving))
            if figures["number"][-1]:
                for numbers, wanted in zip(poses[0, chosen], scene_poses(scene), strict=True):
                    _add_distances(figures, numbers, wanted)
        return {name: float(np.mean(values)) for name, values in figures.items() if values}


def _add_distances(figures: dict[str, list[float]], found: torch.Tensor, wanted: list[Pose]) -> None:
    for numbers, pose in zip(found.tolist(), wanted, strict=True):
        own = read_pose(numbers)
        figures["centre"].append(math.hypot(own.x - pose.x, own.y - pose.y))
        figures["size"].append((abs(own.wide - pose.wide) + abs(own.tall - pose.tall)) / 2)
        figures["degrees"].append(abs((own.degrees - pose.degrees + 180) % 360 - 180))


@dataclass(eq=False)
class VideoCaptions(SceneCaptions):
    """Item i: the caption of video i, its poses, whose they are, the names of its things; and another noun."""

    def scene(self, index: int, naming: Naming) -> tuple[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        scene = things.sample_video(self.seed, index)
        return things.video_caption(scene, naming), video_layout(scene)


def scene_poses(scene: VideoScene) -> list[list[Pose]]:
    """Of each thing of a video its pose in each of FRAMES frames, the usual one of its motion where a caption leaves it
    open: mirrored only where that shows where it goes, round to the right."""
    poses = []
    for moving in scene.moving:
        mirrored = moving.motion == "right"
        placed = moving.placed.__class__(**{**vars(moving.placed), "mirrored": mirrored})
        still = moving.__class__(placed, "stay" if moving.motion == ANIMATED else moving.motion)
        poses.append([pose_of(still, frame / (FRAMES - 1), jitter=1) for frame in range(FRAMES)])
    return poses


def video_layout(scene: VideoScene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Poses (Q, F, POSE), the last an opacity; which thing of the caption each is, THINGS for none (Q,); rows of the
    things' names among those trained, -1 for none (THINGS,)."""
    order = {name: row for row, name in enumerate(things.trained_things())}
    most = LayoutConfig().boxes
    poses, owners = torch.zeros(most, FRAMES, POSE), torch.full((most,), THINGS)
    names = torch.full((THINGS,), -1)
    for number, (moving, own) in enumerate(zip(scene.moving, scene_poses(scene), strict=True)):
        poses[number] = torch.tensor([_numbers(pose) for pose in own])
        owners[number], names[number] = number, order.get(moving.placed.thing, -1)
    return poses, owners, names


def _numbers(pose: Pose) -> tuple[float, ...]:
    turn = math.radians(pose.degrees)
    return pose.x, pose.y, pose.wide, pose.tall, math.sin(turn), math.cos(turn), min(max(pose.opacity, 0.0), 1.0)
