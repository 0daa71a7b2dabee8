"""The vocoder of the audio decoder: log-mels to waveforms, a small SpeechT5HifiGan.

    nextgpt-lite train train/recipes/vocoder.yaml

It learns from short segments, a share of them seen through the autoencoder as they will be when the decoder speaks.
Letters: B segments, N samples, T = N / 160 mel frames, M mel bands.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from decoders.mel import BANDS, HOP, QUIET, SAMPLING_RATE, SPREAD, log_mel
from train.foundations.audio_clips import (
    HELD_OUT_SEED,
    cached_pool,
    fingerprint,
    load_vae,
    sounds_of,
    waveform_chunks,
    waveforms,
)
from train.foundations.autoencoders.spectral_loss import spectral_loss
from train.foundations.pools import write_component
from train.task import Task
from train.worlds import MediaStream, open_world

FULL_SCALE = 32767  # of the pool's 16-bit samples


class VocoderTask(Task):
    """Spectral distance at several resolutions and in mel bands between segments and what the vocoder makes of them."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "seed": 12,  # stream of sounds
        "pool": 2048,  # sounds, each revisited; at most
        "frames": 50,  # mel frames a segment, 10 ms each
        "decoded_share": 0.4,  # segments whose mel went through the autoencoder
        "channels": 192,  # before the first upsampling; each halves it
        # The product of the rates is the hop of the mel, 160. A slow first stage sees far: the residual blocks reach
        # a quarter of a second to either side there, enough to know where in a steady tone they are.
        "upsample_rates": [2, 5, 4, 4],
        "upsample_kernels": [4, 11, 8, 8],
        "kernels": [3, 7],  # of the residual blocks
        "dilations": [1, 3, 9],
        "griffin_lim_rounds": 16,  # written beside the vocoder: decoders.audio speaks by Griffin-Lim then; 0 = by it
        "held_out": 48,  # sounds of evaluate()
        "cache": ".cache/audio",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path):
        super().__init__(settings, model_dir)
        names = ("channels", "upsample_rates", "upsample_kernels", "kernels", "dilations")
        self.model = SpectralVocoder(build_vocoder(**{name: self.settings[name] for name in names}))
        self.vae = load_vae(self.model_dir) if self.settings["decoded_share"] > 0 else None
        self.world = open_world(self.settings["data"])
        self.dataset = SegmentPool(self._pool(), self.settings)

    def _pool(self) -> dict[str, torch.Tensor]:
        stream = sounds_of(self.world, self.settings["seed"])
        count = min(self.settings["pool"], len(stream))
        name = f"segments-{count}-{fingerprint(stream, count, vae=self.vae)}.safetensors"
        return cached_pool(Path(self.settings["cache"]) / name, lambda: build_pool(stream, count, self.vae))

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {"vocoder": list(self.model.parameters())}

    def collate(self, items: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """{"mel": (B, T, M), "waveform": (B, N)}."""
        mels, waves = zip(*items, strict=True)
        return {"mel": torch.stack(mels), "waveform": torch.stack(waves)}

    def export(self, model_dir: Path) -> None:
        """``audio_decoder/vocoder``, fp16."""
        vocoder = copy.deepcopy(self.model.vocoder).half()
        vocoder.config.griffin_lim_rounds = self.settings["griffin_lim_rounds"]
        write_component(model_dir / "audio_decoder" / "vocoder", vocoder.save_pretrained)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On fresh sounds: mean absolute log-mel error of the copy, from true mels and from the autoencoder's."""
        stream = sounds_of(self.world, HELD_OUT_SEED, held_out=True)
        real = waveforms(stream, range(min(self.settings["held_out"], len(stream))))
        mel = log_mel(real)
        figures = {"mel_error": self._copy_error(mel, mel)}
        if self.vae is not None:
            figures["mel_error_decoded"] = self._copy_error(through_vae(self.vae, mel), mel)
        return figures

    def _copy_error(self, heard: torch.Tensor, mel: torch.Tensor) -> float:
        return (log_mel(self.model.vocoder(heard)) - mel).abs().mean().item()


class SegmentPool(Dataset):
    """Item i is the log-mel (T, M) and the waveform (N,) of a segment: of four drawn, the loudest."""

    def __init__(self, pool: dict[str, torch.Tensor], settings: dict[str, Any], length: int = 1_000_000):
        self.pool, self.settings, self.length = pool, settings, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.settings["seed"], index))
        row = index % len(self.pool["waveform"])
        mel, frames = self.pool["mel"][row], self.settings["frames"]
        starts = rng.integers(len(mel) - frames + 1, size=4)
        start = max(starts, key=lambda start: mel[start : start + frames].float().mean())
        if rng.random() < self.settings["decoded_share"]:
            mel = self.pool["decoded"][row]
        wave = self.pool["waveform"][row, start * HOP : (start + frames) * HOP]
        return mel[start : start + frames].float(), wave.float() / FULL_SCALE


class SpectralVocoder(nn.Module):
    """The vocoder and its loss."""

    def __init__(self, vocoder: SpeechT5HifiGan):
        super().__init__()
        self.vocoder = vocoder

    def forward(self, mel: torch.Tensor, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss of log-mels (B, T, M) and the waveforms (B, N) that they are of."""
        copied = self.vocoder(mel)
        with torch.autocast(copied.device.type, enabled=False):
            return spectral_loss(copied.float(), waveform)


def build_vocoder(
    channels: int, upsample_rates: list[int], upsample_kernels: list[int], kernels: list[int], dilations: list[int]
) -> SpeechT5HifiGan:
    """An untrained SpeechT5HifiGan for AudioLDM's log-mels."""
    config = SpeechT5HifiGanConfig(
        model_in_dim=BANDS,
        sampling_rate=SAMPLING_RATE,
        upsample_initial_channel=channels,
        upsample_rates=upsample_rates,
        upsample_kernel_sizes=upsample_kernels,
        resblock_kernel_sizes=kernels,
        resblock_dilation_sizes=[dilations] * len(kernels),
        normalize_before=True,
    )
    vocoder = SpeechT5HifiGan(config)
    for module in vocoder.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            module.reset_parameters()  # the class starts its weights too near zero for a short training
    vocoder.mean.fill_(QUIET)  # a quiet room then equals the zeros with which convolutions pad
    vocoder.scale.fill_(SPREAD)
    return vocoder


@torch.no_grad()
def build_pool(stream: MediaStream, count: int, vae: Any | None) -> dict[str, torch.Tensor]:
    """{"waveform": (count, N) int16, "mel": (count, T, M) fp16, "decoded": the same through the autoencoder}."""
    pool: dict[str, list[torch.Tensor]] = {"waveform": [], "mel": [], "decoded": []}
    for waves in waveform_chunks(stream, count):
        mel = log_mel(waves)
        pool["waveform"].append((waves * FULL_SCALE).round().short())
        pool["mel"].append(mel.half())
        if vae is not None:
            pool["decoded"].append(through_vae(vae, mel).half())
    return {name: torch.cat(chunks) for name, chunks in pool.items() if chunks}


def through_vae(vae: Any, mel: torch.Tensor) -> torch.Tensor:
    """Log-mels (B, T, M) after a trip to the latents and back."""
    return vae(mel.unsqueeze(1)).sample.squeeze(1)
