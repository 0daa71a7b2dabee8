"""A model's decoders as files of ONNX, for other runtimes.

Of each decoder its network and its VAE's decoder, with the scheduler's configuration beside them:

    image_decoder/network.onnx      noisy (B, ...), timestep (B,), condition (B, L, D) -> predicted (B, ...)
    image_decoder/vae_decoder.onnx  scaled latents (B, ...) -> pixels (B, 3, ...) in [-1, 1], or mels (B, 1, T, M)
    image_decoder/scheduler_config.json, decoder.json

A sampling loop is the scheduler's own: what it asks of the network is the first file. Conditions come from the output
projection in the folder core, or from the decoder's text encoder. The batch size is free, other sizes are fixed.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from data.atomic import atomic_folder, check_new_folder, write_json
from decoders import load_decoder
from decoders.base import SETTINGS, unscaled
from nextgpt_lite.checkpoint import CheckpointError, component, model_hash, read_manifest
from nextgpt_lite.export.folders import Exported, import_extra

SCHEDULER = "scheduler_config.json"
#: Media that a decoder is traced with: any number but one, which tracing would take for a constant.
BATCH = 2


class Untraceable(CheckpointError):
    """A network that the tracer cannot follow."""


class Network(nn.Module):
    """What the scheduler asks in each step."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.network, self.decoder = decoder.network, [decoder]  # in a list: its other parts are not exported

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.decoder[0].predict(noisy, timestep, condition)


class VaeDecoder(nn.Module):
    """Scaled latents to what the VAE makes of them."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.vae: Any = decoder.pipeline.vae
        self.of_images = isinstance(self.vae, AutoencoderKL)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        if latents.ndim == 5 and self.of_images:  # videos (B, C, F, h, w)
            frames = latents.transpose(1, 2)
            pixels = self.vae.decode(unscaled(self.vae, frames.flatten(0, 1))).sample
            return pixels.unflatten(0, frames.shape[:2]).transpose(1, 2)
        return self.vae.decode(unscaled(self.vae, latents)).sample


def export_onnx(folder: Path, out: Path) -> Exported:
    """Write the decoders of the model in ``folder`` to ``out``, which must be new, atomically.

    A decoder that cannot be traced is left out, and the notes say so. CheckpointError for a model without decoders or
    with none that can be traced, and where the packages of ONNX are not installed.
    """
    import_extra("onnx", "onnxscript")
    check_new_folder(out)
    manifest = read_manifest(folder)
    exported = Exported(manifest["name"], model_hash(manifest), "float32")
    names = [name for name in manifest["components"] if name.endswith("_decoder")]
    if not names:
        raise CheckpointError(f"{folder} has no decoder, and nothing else is exported to ONNX")
    with atomic_folder(out) as temporary:
        for name in names:
            decoder = load_decoder(component(folder, manifest, name))
            try:
                _export_decoder(decoder, temporary / name)
            except Untraceable as error:
                shutil.rmtree(temporary / name)
                exported.notes.append(f"{error}. It is left out.")
                continue
            exported.components[name] = type(decoder.pipeline).__name__
            exported.sha256[name] = manifest["components"][name]["sha256"]
        if not exported.components:
            raise CheckpointError(" ".join(exported.notes))
        write_json(temporary / "export.json", asdict(exported))
    return exported


def _export_decoder(decoder: Any, folder: Path) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    condition = torch.randn(BATCH, *decoder.condition_shape)
    medium = decoder.decode(condition, seeds=list(range(BATCH)), steps=1)
    latents = decoder.encode_media([decoder.resize(each, decoder.rate) for each in medium])
    steps = torch.full((BATCH,), 500.0)
    _trace(Network(decoder), {"noisy": latents, "timestep": steps, "condition": condition}, folder / "network.onnx")
    _trace(VaeDecoder(decoder), {"latents": latents}, folder / "vae_decoder.onnx")
    write_json(folder / SCHEDULER, json.loads(decoder.pipeline.scheduler.to_json_string()))
    chosen = {"steps": decoder.default_steps, "guidance": decoder.default_guidance, "rate": decoder.rate}
    write_json(folder / SETTINGS, chosen | {"condition": list(decoder.condition_shape)})


def _trace(module: nn.Module, given: dict[str, torch.Tensor], path: Path) -> None:
    """Write a module as ONNX whose inputs have a free batch size. Untraceable for one that cannot be."""
    # Traced here: the exporter would try several ways of tracing, minutes each, and hide the reason of a failure.
    shapes = {name: {0: torch.export.Dim.DYNAMIC} for name in given}
    try:
        with _quiet(), torch.no_grad():
            traced = torch.export.export(module.eval(), (), given, dynamic_shapes=shapes, strict=False)
            written: Any = torch.onnx.export(traced, input_names=list(given), dynamo=True, verbose=False)
            written.rename_axes({written.model.graph.inputs[0].shape[0]: "batch"})
    except Exception as error:  # whatever the tracer says
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise Untraceable(f"{path.parent.name}: its {path.stem} cannot be traced to ONNX: {reason}") from error
    written.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the tracers say about themselves away."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
