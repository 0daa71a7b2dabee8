"""Audio of a reply in the formats that clients ask for."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import torch

from data.resampling import resample
from nextgpt_lite import ReplyMedium


class AudioFormat(NamedTuple):
    """A MIME type; for PyAV a container and a codec, None = samples alone; Hz, None = the medium's own."""

    mime: str
    container: str | None
    codec: str
    rate: int | None


#: By the names of OpenAI's API. Samples alone come at the rate that its clients assume.
AUDIO_FORMATS = {
    "wav": AudioFormat("audio/wav", "wav", "pcm_s16le", None),
    "flac": AudioFormat("audio/flac", "flac", "flac", None),
    "mp3": AudioFormat("audio/mpeg", "mp3", "libmp3lame", 48_000),
    "opus": AudioFormat("audio/ogg", "ogg", "libopus", 48_000),
    "aac": AudioFormat("audio/aac", "adts", "aac", 48_000),
    "pcm": AudioFormat("audio/pcm", None, "", 24_000),
    "pcm16": AudioFormat("audio/pcm", None, "", 24_000),
}


def encode_audio(medium: ReplyMedium, name: str) -> bytes:
    """Audio in a format of :data:`AUDIO_FORMATS`, mono, 16 bits."""
    chosen, own = AUDIO_FORMATS[name], round(medium.rate or 16_000)
    rate = chosen.rate or own
    wave = torch.from_numpy(np.ascontiguousarray(medium.array, dtype=np.float32))[None]  # (1, N)
    samples = (resample(wave, own, rate).clamp(-1, 1) * 32767).round().numpy().astype("<i2")
    return _in_container(samples, rate, chosen) if chosen.container else samples.tobytes()


def _in_container(samples: np.ndarray, rate: int, chosen: AudioFormat) -> bytes:
    """A file of samples (1, N)."""
    import av
    from av.audio.stream import AudioStream

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=chosen.container) as container:
        stream = container.add_stream(chosen.codec, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
