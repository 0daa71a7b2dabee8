"""Media of dialogues as arrays: what a part's ground truth looks or sounds like."""

from collections.abc import Callable
from typing import Any

import numpy as np

from data.things.dialogues.parts import MediaPart
from data.things.motion import VideoScene
from data.things.motion_rendering import FRAME_RATE, render_video
from data.things.points.scenes import PointScene, render_points
from data.things.rendering import render_image
from data.things.scenes import Scene
from data.things.sounds.bank import RATE
from data.things.sounds.rendering import render_sound
from data.things.sounds.scenes import SoundScene
from data.things.sources import has_bank

_RENDERERS: dict[type, tuple[Callable[[Any], np.ndarray], float | None]] = {
    Scene: (render_image, None),
    VideoScene: (render_video, FRAME_RATE),
    SoundScene: (render_sound, float(RATE)),
    PointScene: (render_points, None),
}
#: Modality -> the bank without which its media cannot be rendered.
_BANKS = {"audio": "sounds", "points": "models"}


def render_medium(part: MediaPart) -> tuple[np.ndarray, float | None]:
    """Array and rate of a part that shows something of the world. BankMissing where data for it is not there.

    KeyError for photographs and unknown media, of which the world has no picture.
    """
    render, rate = _RENDERERS[type(part.content)]
    return render(part.content), rate


def can_be_rendered(modality: str) -> bool:
    """Whether the data is there that media of this modality are made of."""
    return modality not in _BANKS or has_bank(_BANKS[modality])
