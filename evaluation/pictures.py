"""Media as they stand in a report: data URIs of pictures, film strips, spectrograms and sounds."""

from __future__ import annotations

import base64
import html
import io

import numpy as np
import soundfile
import torch
from PIL import Image

from evaluation.oracles import SAMPLE_RATE, log_mel


def data_uri(content: bytes, kind: str) -> str:
    """``data:kind;base64,...``"""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data URI."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return data_uri(written.getvalue(), "image/png")


def film_strip(frames: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) -> (H / 2, F W / 2, 3): the frames side by side."""
    small = [np.asarray(Image.fromarray(frame).resize((frame.shape[1] // 2, frame.shape[0] // 2))) for frame in frames]
    return np.concatenate(small, axis=1)


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> (128, 256, 3): log-mel, low notes at the bottom."""
    mel = log_mel(torch.from_numpy(wave)[None].float())[0].numpy()[::-1]  # (64, T)
    bright = ((mel - mel.max() + 3) / 3).clip(0, 1)[..., None]
    colours = np.concatenate((bright**0.8, bright**1.6, 0.35 * bright**0.5 + 0.4 * bright**4), -1)
    return np.asarray(Image.fromarray((colours * 255).astype(np.uint8)).resize((256, 128)))


def cloud(points: np.ndarray, size: int = 128) -> np.ndarray:
    """(N, 3) in the unit ball -> (size, size, 3): seen from the front, nearer points darker."""
    canvas = np.full((size, size, 3), 248, np.uint8)
    columns = ((points[:, 0] * 0.45 + 0.5) * size).astype(int).clip(0, size - 2)
    rows = ((0.5 - points[:, 1] * 0.45) * size).astype(int).clip(0, size - 2)
    shades = (120 - 90 * points[:, 2].clip(-1, 1)).astype(np.uint8)[:, None].repeat(3, 1)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        canvas[rows + down, columns + across] = shades
    return canvas


def medium_html(modality: str, array: np.ndarray) -> str:
    """One medium as an HTML element."""
    if modality == "image":
        return f'<img alt="picture" src="{png(array)}">'
    if modality == "video":
        return f'<img class="strip" alt="film" src="{png(film_strip(array))}">'
    if modality == "points":
        return f'<img alt="point cloud" src="{png(cloud(array))}">'
    written = io.BytesIO()
    soundfile.write(written, array, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    sound = data_uri(written.getvalue(), "audio/wav")
    return f'<img alt="spectrogram" src="{png(spectrogram(array))}"><br><audio controls src="{sound}"></audio>'


def message_html(message: dict) -> str:
    """One turn of a conversation, in the form that ``AnyToAny.chat`` takes."""
    parts = [
        f"<p>{html.escape(part['text'])}</p>" if part["type"] == "text" else medium_html(part["type"], part["array"])
        for part in message["content"]
    ]
    return f'<div class="{message["role"]}">{"".join(parts)}</div>'
