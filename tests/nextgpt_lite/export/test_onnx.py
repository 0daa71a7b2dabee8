"""Decoders as ONNX, run by onnxruntime: each step's prediction and the media are those of the decoder."""

import json
import shutil

import diffusers
import numpy as np
import onnxruntime
import pytest
import torch

from decoders import load_decoder
from decoders.audio import LOG_FLOOR
from decoders.image import ImageDecoder
from nextgpt_lite.checkpoint import write_manifest
from nextgpt_lite.cli import main

# Tracing takes half a minute for a decoder of a few layers, more on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def export(tiny_folder, tmp_path, capsys):
    """Export a model that has these decoders of the tiny one: exit code, what was said, the folder."""

    def run(*modalities):
        folder, out = tmp_path / "model", tmp_path / "onnx"
        for modality in modalities:
            shutil.copytree(tiny_folder / f"{modality}_decoder", folder / f"{modality}_decoder")
        write_manifest(folder, "tiny")
        code = main(["export", str(folder), "--format", "onnx", "--out", str(out)])
        return code, capsys.readouterr(), out

    return run


def run(path, **given) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [made] = session.run(None, {name: np.asarray(value) for name, value in given.items()})
    return torch.from_numpy(made)


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_a_decoder_without_this_project(modality, export, tiny_folder):
    """One medium, which no file was traced with, sampled by the scheduler of the exported configuration."""
    code, said, out = export(modality)
    assert code == 0, said.err
    decoder, folder = load_decoder(tiny_folder / f"{modality}_decoder"), out / f"{modality}_decoder"
    torch.manual_seed(1)
    condition = torch.randn(1, *decoder.condition_shape)
    config = json.loads((folder / "scheduler_config.json").read_text())
    scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    scheduler.set_timesteps(3)
    medium = decoder.decode(condition, seeds=[0], steps=1)
    latents = torch.randn_like(decoder.encode_media([decoder.resize(medium[0], decoder.rate)]))
    expected = latents.clone()
    own = type(scheduler).from_config(config)
    own.set_timesteps(3)
    for step in scheduler.timesteps:
        told = {"timestep": step.float().expand(1), "condition": condition}
        latents = scheduler.step(run(folder / "network.onnx", noisy=latents, **told), step, latents).prev_sample
        with torch.no_grad():
            expected = own.step(decoder.predict(expected, step.expand(1), condition), step, expected).prev_sample
    torch.testing.assert_close(latents, expected, atol=1e-3, rtol=1e-3)
    made = run(folder / "vae_decoder.onnx", latents=latents)
    if modality == "audio":
        mel = np.flipud(made[0, 0].T) / -LOG_FLOOR + 1  # (M, T), as previews show it
        shown = np.repeat(np.asarray(mel)[:, :, None], 3, axis=2)
    else:
        frame = made[0] if modality == "image" else made[0, :, made.shape[2] // 2]
        shown = np.asarray(frame.permute(1, 2, 0) / 2 + 0.5)
    assert np.abs(decoder.draw_latents(expected).astype(float) - shown.clip(0, 1) * 255).max() < 2
    assert json.loads((folder / "decoder.json").read_text())["condition"] == list(decoder.condition_shape)


def by_its_values(self, noisy, timestep, condition):
    """A prediction that no tracer can follow."""
    return noisy if condition.sum() > 0 else -noisy


def test_what_cannot_be_traced_is_left_out(export, monkeypatch):
    monkeypatch.setattr(ImageDecoder, "predict", by_its_values)
    code, said, out = export("image", "audio")
    assert code == 0, said.err
    exported = json.loads((out / "export.json").read_text())
    assert list(exported["components"]) == list(exported["sha256"]) == ["audio_decoder"]
    [note] = exported["notes"]
    assert note.startswith("image_decoder: its network cannot be traced to ONNX: ") and note.endswith("It is left out.")
    assert note in said.out and "\n" not in note
    assert not (out / "image_decoder").exists() and (out / "audio_decoder" / "vae_decoder.onnx").is_file()


def test_nothing_is_written_where_nothing_can_be_traced(export, monkeypatch):
    monkeypatch.setattr(ImageDecoder, "predict", by_its_values)
    code, said, out = export("image")
    assert code == 2 and "image_decoder: its network cannot be traced" in said.err
    assert not out.exists() and "Traceback" not in said.err
