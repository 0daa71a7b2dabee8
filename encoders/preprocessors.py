"""The registry of preprocessors: for each medium its tower, its settings and the function that prepares it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoders.points import PointConfig
from encoders.preprocessing.audio import AudioSettings, preprocess_audio
from encoders.preprocessing.sensors import (
    DepthSettings,
    ImuSettings,
    ThermalSettings,
    preprocess_depth,
    preprocess_imu,
    preprocess_points,
    preprocess_thermal,
)
from encoders.preprocessing.vision import ImageSettings, VideoSettings, preprocess_image, preprocess_video

#: Modality -> its settings.
Settings = Mapping[str, Any]
#: The tower that is not ImageBind's but a PointEncoder.
POINTS = "points"


@dataclass(frozen=True)
class Preprocessor:
    """How a medium enters its tower."""

    tower: str  #: its name in ``ImageBindConfig.towers``, or :data:`POINTS`
    settings: type  #: dataclass of the settings, which stand under the medium's name in an encoder's ``config.json``
    #: (array, rate or None, settings of all media) -> tensor without a batch axis.
    prepare: Callable[[np.ndarray, float | None, Settings], torch.Tensor]
    clips: bool = False  #: whether the tensor's first axis is clips, whose encodings are averaged


#: image uint8 (H, W, 3) -> (3, s, s); video uint8 (F, H, W, 3) -> (S, 3, 2, s, s); audio float (N,) or (channels, N)
#: -> (S, 1, mels, frames); depth in metres, float (H, W), and thermal, uint8 (H, W) -> (1, s, s); imu float (N, 6) ->
#: (6, samples); points float (N, 3) -> (points, 3). S clips, s pixels.
PREPROCESSORS: dict[str, Preprocessor] = {
    "image": Preprocessor("vision", ImageSettings, lambda array, rate, of: preprocess_image(array, of["image"])),
    "video": Preprocessor(
        "vision",
        VideoSettings,
        lambda array, rate, of: preprocess_video(array, 4.0 if rate is None else rate, of["video"], of["image"]),
        clips=True,
    ),
    "audio": Preprocessor(
        "audio",
        AudioSettings,
        lambda array, rate, of: preprocess_audio(array, of["audio"].rate if rate is None else int(rate), of["audio"]),
        clips=True,
    ),
    "depth": Preprocessor("depth", DepthSettings, lambda array, rate, of: preprocess_depth(array, of["depth"])),
    "thermal": Preprocessor(
        "thermal", ThermalSettings, lambda array, rate, of: preprocess_thermal(array, of["thermal"])
    ),
    "imu": Preprocessor(
        "imu",
        ImuSettings,
        lambda array, rate, of: preprocess_imu(array, of["imu"].rate if rate is None else rate, of["imu"]),
    ),
    "points": Preprocessor(POINTS, PointConfig, lambda array, rate, of: preprocess_points(array, of["points"].points)),
}
