"""A model's decoders as files of ONNX, for other runtimes.

Of each decoder its network and its VAE's decoder, with the scheduler's configuration beside them:

    image_decoder/network.onnx      noisy (B, ...), timestep (B,), condition (B, L, D) -> predicted (B, ...)
    image_decoder/vae_decoder.onnx  scaled latents (B, ...) -> pixels or a spectrogram
    image_decoder/scheduler_config.json, decoder.json

A sampling loop is the scheduler's own: what it asks of the network is the first file. Conditions come from the output
projection in the folder core, or from the decoder's text encoder. The batch size is free, other sizes are fixed.
"""

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.atomic import atomic_folder, check_new_folder, write_json
from decoders import load_decoder
from decoders.base import SETTINGS, unscaled
from nextgpt_lite.checkpoint import CheckpointError, component, model_hash, read_manifest
from nextgpt_lite.export.folders import Exported, import_extra

SCHEDULER = "scheduler_config.json"
#: Media that a decoder is traced with: any number but one, which tracing would take for a constant.
BATCH = 2


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
        self.vae = decoder.pipeline.vae

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(unscaled(self.vae, latents)).sample


def export_onnx(folder: Path, out: Path) -> Exported:
    """Write the decoders of the model in ``folder`` to ``out``, which must be new, atomically.

    CheckpointError for a model without decoders, a decoder whose network cannot be traced, and where the packages of
    ONNX are not installed.
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
            (temporary / name).mkdir()
            _export_decoder(decoder, temporary / name)
            exported.components[name] = type(decoder.pipeline).__name__
            exported.sha256[name] = manifest["components"][name]["sha256"]
        write_json(temporary / "export.json", asdict(exported))
    return exported


def _export_decoder(decoder: Any, folder: Path) -> None:
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
    """Write a module as ONNX whose inputs have a free batch size."""
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: {0: batch} for name in given}
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracers, about themselves
            torch.onnx.export(
                module.eval(), (), path, kwargs=given, dynamic_shapes=shapes, input_names=list(given), dynamo=True,
                external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # whatever the tracer says
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{path.parent.name}: its {path.stem} cannot be traced to ONNX: {reason}") from error
    finally:
        noisy.setLevel(level)
