"""Media of any size in the form that a decoder makes: its pixels, its frames, its seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from encoders.preprocess_audio import resample


def fitted(array: np.ndarray, rate: float | None, decoder: Any) -> np.ndarray:
    """A medium as ``decoder`` (decoders.base.Decoder) would have returned it.

    A picture is cut to its middle square and scaled; of a video the decoder's number of frames is taken, evenly; a
    sound is brought to the decoder's rate and length, cut or followed by silence. A medium that fits stays as it is.
    """
    if decoder.modality == "image":
        return fit_picture(array, side_of(decoder))
    if decoder.modality == "video":
        chosen = np.linspace(0, len(array) - 1, decoder.frames).round().astype(int)
        return np.stack([fit_picture(frame, side_of(decoder)) for frame in array[chosen]])
    return fit_sound(array, rate, decoder.sampling_rate, samples_of(decoder))


def fit_picture(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) -> (side, side, 3)."""
    height, width = picture.shape[:2]
    if (height, width) == (side, side):
        return picture
    square = min(height, width)
    left, top = (width - square) // 2, (height - square) // 2
    box = (left, top, left + square, top + square)
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box))


def fit_sound(sound: np.ndarray, rate: float | None, target: int, samples: int) -> np.ndarray:
    """float32 (N,) at ``rate`` hertz -> (samples,) at ``target`` hertz."""
    if rate is not None and int(rate) != target:
        sound = resample(torch.from_numpy(sound)[None], int(rate), target)[0].numpy()
    return np.pad(sound[:samples], (0, max(0, samples - len(sound)))).astype(np.float32)


def side_of(decoder: Any) -> int:
    """Pixels on each side of what a picture or video decoder makes."""
    pipeline = decoder.pipeline
    size = pipeline.unet.config.sample_size
    return (size if isinstance(size, int) else size[0]) * pipeline.vae_scale_factor


def samples_of(decoder: Any) -> int:
    """Samples of what an audio decoder makes."""
    pipeline = decoder.pipeline
    size = pipeline.unet.config.sample_size
    frames = (size if isinstance(size, int) else size[0]) * pipeline.vae_scale_factor
    return frames * int(np.prod(pipeline.vocoder.config.upsample_rates))
