"""The vocoder of the audio decoder: log-mels to waveforms, a small SpeechT5HifiGan.

It learns from short segments, a share of them decoded by the VAE as they will be when the decoder is used.
Shapes: B segments, N samples, T = N / 160 mel frames, M mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from torch.nn import functional
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from decoders.mel import BANDS, HOP, QUIET, SAMPLING_RATE, SPREAD, griffin_lim, log_mel
from train.foundations.autoencoders.vae import load_vae
from train.foundations.components import half_copy, weights_hash, write_component
from train.foundations.pools import AUDIO_HELD_OUT_SEED, AudioPool, DataSettings, EndlessDataset, media_of, waveforms
from train.settings import setting
from train.task import Task
from train.worlds import open_world

FULL_SCALE = 32767  # of the pool's 16-bit samples
#: Window lengths of the multi-resolution STFT, whose hops are a quarter of them; its least magnitude.
WINDOWS, FLOOR = (2048, 1024, 512, 256, 128), 1e-4


@dataclass(frozen=True)
class VocoderSettings(DataSettings):
    """Settings of :class:`VocoderTask`."""

    seed: int = setting(12, low=0, help="of the stream of clips")
    pool: int = setting(2048, low=1, help="clips, each used many times; at most")
    frames: int = setting(50, low=1, high=200, help="mel frames of a segment, 10 ms each")
    decoded_share: float = setting(0.4, low=0, high=1, help="segments whose mel the VAE has encoded and decoded")
    channels: int = setting(192, low=1, help="before the first upsampling; each halves it")
    # A slow first stage sees far: a quarter of a second to either side, enough to know where in a steady tone they are.
    upsample_rates: tuple[int, ...] = setting((2, 5, 4, 4), low=1, help="their product is the hop of the mel, 160")
    upsample_kernels: tuple[int, ...] = setting((4, 11, 8, 8), low=1)
    kernels: tuple[int, ...] = setting((3, 7), low=1, help="of the residual blocks")
    dilations: tuple[int, ...] = setting((1, 3, 9), low=1)
    griffin_lim_rounds: int = setting(16, low=0, help="of Griffin-Lim, which decoders.audio uses instead; 0 = vocoder")
    held_out: int = setting(48, low=1, help="clips that evaluate() uses")
    cache_dir: str = setting(".cache/audio", alias="cache")

    def __post_init__(self) -> None:
        if math.prod(self.upsample_rates) != HOP:
            raise ValueError(f"the product of upsample_rates must be {HOP}, not {math.prod(self.upsample_rates)}")
        if len(self.upsample_kernels) != len(self.upsample_rates):
            raise ValueError("upsample_kernels must have as many values as upsample_rates")


class VocoderTask(Task):
    """Spectral distance at several resolutions and in mel bands between segments and the vocoder's copies of them."""

    Settings = VocoderSettings
    settings: VocoderSettings
    model: SpectralVocoder
    part = "vocoder"

    def build(self) -> None:
        chosen = self.settings
        self.model = SpectralVocoder(build_vocoder(chosen))
        self.vae = load_vae(self.model_dir, "audio") if chosen.decoded_share > 0 else None
        self.world = open_world(chosen.data)
        pool = AudioPool(media_of(self.world, "audio", chosen.seed), chosen.pool, chosen.cache_dir)
        self.dataset = SegmentPool(pool, self.vae, chosen)

    def collate(self, items: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """{"mel": (B, T, M), "waveform": (B, N)}."""
        mels, waves = zip(*items, strict=True)
        return {"mel": torch.stack(mels), "waveform": torch.stack(waves)}

    def export(self, model_dir: Path) -> None:
        """``audio_decoder/vocoder``, fp16."""
        vocoder = half_copy(self.model.vocoder)
        vocoder.config.griffin_lim_rounds = self.settings.griffin_lim_rounds
        write_component(vocoder, Path(model_dir) / "audio_decoder" / "vocoder")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On unseen clips: mean absolute log-mel error of the copy, from true mels and from the VAE's; and the loss of
        the copy and, where the decoder is to use it, of Griffin-Lim's."""
        stream = media_of(self.world, "audio", AUDIO_HELD_OUT_SEED, held_out=True)
        waves = waveforms(stream, range(min(self.settings.held_out, len(stream))))
        mel, rounds = log_mel(waves), self.settings.griffin_lim_rounds
        figures = {"mel_error": self._copy_error(mel, mel)}
        if self.vae is not None:
            figures["mel_error_decoded"] = self._copy_error(through_vae(self.vae, mel), mel)
        figures["spectral_error"] = spectral_loss(self.model.vocoder(mel), waves)["loss"].item()
        if rounds:
            figures["spectral_error_griffin_lim"] = spectral_loss(griffin_lim(mel, rounds), waves)["loss"].item()
        return figures

    def _copy_error(self, given: torch.Tensor, mel: torch.Tensor) -> float:
        return (log_mel(self.model.vocoder(given)) - mel).abs().mean().item()


class SegmentPool(EndlessDataset):
    """Item i is the log-mel (T, M) and the waveform (N,) of a segment: of four drawn, the loudest."""

    length = 1_000_000

    def __init__(self, pool: AudioPool, vae: AutoencoderKL | None, settings: VocoderSettings) -> None:
        self.settings = settings
        depends_on = [pool.content] if vae is None else [pool.content, weights_hash(vae)]
        self.rows = pool.cached("segments", lambda: _rows(pool, vae), *depends_on)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.settings.seed, index))
        row, frames = self.rows[index % len(self.rows)], self.settings.frames
        mel = torch.from_numpy(row["mel"])
        starts = rng.integers(len(mel) - frames + 1, size=4)
        start = max(starts, key=lambda start: float(mel[start : start + frames].float().mean()))
        if rng.random() < self.settings.decoded_share:
            mel = torch.from_numpy(row["decoded"])
        wave = torch.from_numpy(row["waveform"][start * HOP : (start + frames) * HOP])
        return mel[start : start + frames].float(), wave.float() / FULL_SCALE


def _rows(pool: AudioPool, vae: AutoencoderKL | None) -> Iterator[np.ndarray]:
    """A record of each clip: its samples, its mel, and that mel decoded by the VAE; without a VAE the mel again."""
    for waves in pool.waves():
        mels = log_mel(waves)
        mel = ("<f2", tuple(mels.shape[1:]))
        records = np.empty(len(waves), [("waveform", "<i2", waves.shape[1:]), ("mel", *mel), ("decoded", *mel)])
        records["waveform"] = (waves * FULL_SCALE).round().short().numpy()
        records["mel"] = mels.half().numpy()
        records["decoded"] = (mels if vae is None else through_vae(vae, mels)).half().numpy()
        yield from (records[row, ...] for row in range(len(records)))


class SpectralVocoder(nn.Module):
    """The vocoder and its loss."""

    def __init__(self, vocoder: SpeechT5HifiGan) -> None:
        super().__init__()
        self.vocoder = vocoder

    def forward(self, mel: torch.Tensor, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss of log-mels (B, T, M) and the waveforms (B, N) that they are of."""
        copied = self.vocoder(mel)
        with torch.autocast(copied.device.type, enabled=False):
            return spectral_loss(copied.float(), waveform)


def build_vocoder(settings: VocoderSettings) -> SpeechT5HifiGan:
    """An untrained SpeechT5HifiGan for AudioLDM's log-mels."""
    config = SpeechT5HifiGanConfig(
        model_in_dim=BANDS,
        sampling_rate=SAMPLING_RATE,
        upsample_initial_channel=settings.channels,
        upsample_rates=list(settings.upsample_rates),
        upsample_kernel_sizes=list(settings.upsample_kernels),
        resblock_kernel_sizes=list(settings.kernels),
        resblock_dilation_sizes=[list(settings.dilations)] * len(settings.kernels),
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
def through_vae(vae: AutoencoderKL, mel: torch.Tensor) -> torch.Tensor:
    """Log-mels (B, T, M) encoded and decoded again."""
    return vae(mel.unsqueeze(1)).sample.squeeze(1)


def spectral_loss(copied: torch.Tensor, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
    """{"loss", "magnitude", "logarithm", "mel"} of waveforms (B, N), float32.

    ``magnitude`` is the relative error of the STFT magnitudes (spectral convergence), ``logarithm`` the mean
    difference of their logarithms, both averaged over the resolutions; ``mel`` is that of the log-mels.
    """
    magnitude = logarithm = torch.zeros(())
    for window in WINDOWS:
        copy, original = magnitudes(copied, window), magnitudes(waveform, window)  # (B, frequencies, frames)
        distance = (copy - original).square().sum((1, 2)).add(1e-9).sqrt()
        magnitude = magnitude + (distance / (original.square().sum((1, 2)).sqrt() + 0.1)).mean() / len(WINDOWS)
        logarithm = logarithm + (copy.log() - original.log()).abs().mean() / len(WINDOWS)
    mel = (log_mel(copied) - log_mel(waveform)).abs().mean()
    loss = magnitude + logarithm + mel
    return {"loss": loss, "magnitude": magnitude.detach(), "logarithm": logarithm.detach(), "mel": mel.detach()}


def magnitudes(waveform: torch.Tensor, window: int) -> torch.Tensor:
    """STFT magnitudes (B, frequencies, frames) of waveforms (B, N), scaled to amplitudes and kept above FLOOR."""
    taper = torch.hann_window(window, device=waveform.device)
    padded = functional.pad(waveform, (window // 2, window // 2), mode="reflect")
    spectrum = torch.stft(padded, window, window // 4, window=taper, center=False, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1) / (window / 4) ** 2
    return power.add(FLOOR**2).sqrt()
