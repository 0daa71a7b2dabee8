"""Decoders as ONNX, run by onnxruntime: each step's prediction and the media are those of the decoder."""

import json

import diffusers
import numpy as np
import pytest
import torch

from decoders import load_decoder
from nextgpt_lite.cli import main

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -e '.[onnx]'")
pytest.importorskip("onnxscript", reason="pip install -e '.[onnx]'")


@pytest.fixture(scope="module")
def exported(tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx") / "model"
    assert main(["export", str(tiny_folder), "--format", "onnx", "--out", str(out)]) == 0
    return out


def run(path, **given) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [made] = session.run(None, {name: np.asarray(value) for name, value in given.items()})
    return torch.from_numpy(made)


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_a_decoder_without_this_project(modality, exported, tiny_folder):
    """One medium, which no file was traced with, sampled by the scheduler of the exported configuration."""
    decoder, folder = load_decoder(tiny_folder / f"{modality}_decoder"), exported / f"{modality}_decoder"
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
    if modality == "image":
        pixels = run(folder / "vae_decoder.onnx", latents=latents)
        shown = np.asarray(pixels[0].permute(1, 2, 0) / 2 + 0.5).clip(0, 1) * 255
        assert np.abs(decoder.draw_latents(expected).astype(float) - shown).max() < 2
    assert json.loads((folder / "decoder.json").read_text())["condition"] == list(decoder.condition_shape)
