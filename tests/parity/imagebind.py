"""ImageBind's golden cases: towers, the released state dict, preprocessing, tokens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import normalize

from data.resampling import resample
from encoders.imagebind import MODALITIES, ImageBind, ImageBindConfig, TowerConfig
from encoders.preprocessing.audio import AudioSettings, clip_starts, preprocess_audio
from encoders.preprocessing.vision import CLIP_DEVIATION, CLIP_MEAN, ImageSettings, preprocess_image, three_crops
from encoders.text_tokenizer import CLIP_VOCABULARY, ClipTokenizer
from tests.parity.cases import GOLDEN, Case, Comparison

OUTPUT, STAGE, DOUBLE = 2e-6, 2e-5, 1e-9
MEDIA_VARIABLE = "NEXTGPT_MEDIA"
#: Sizes that the published constructor fixes or defaults, where a case does not give them.
DEFAULTS = {
    "depth_kernel_size": 16, "thermal_kernel_size": 16, "imu_kernel_size": 8, "audio_kernel_size": 16,
    "audio_stride": 10, "audio_num_mel_bins": 128, "audio_target_len": 204, "kernel_size": [2, 14, 14],
    "image_size": 224,
}  # fmt: skip


def kind(case: Case) -> str:
    """What a case of ImageBind is. ValueError for one that is not known."""
    keys = case.record.get("keys", {})
    if case.record and all(isinstance(entry, list) for entry in case.record.values()):
        return "state_dict"
    if "modality" in case.record:
        return "tower"
    if "texts" in case.record:
        return "tokens"
    if "clip_timepoints" in case.record:
        return "video"
    if any(key.startswith("inputs/wave.") for key in keys):
        return "audio"
    if any(key.startswith("outputs/vision.") for key in keys) and "outputs/audio" in keys:
        return "media"
    raise ValueError(f"unknown ImageBind case {case.name!r} with keys {sorted(keys)}")


def configuration(values: dict, weights: dict[str, torch.Tensor]) -> ImageBindConfig:
    """The towers for which there are weights, sized as the case's config says."""
    sizes = DEFAULTS | values
    kernel, side = tuple(sizes["kernel_size"]), sizes["image_size"]
    depth, thermal = (sizes["depth_kernel_size"],) * 2, (sizes["thermal_kernel_size"],) * 2
    imu = (sizes["imu_kernel_size"],)
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
        "vision": ((3, sizes.get("video_frames", 2), side, side), kernel, kernel),
        "text": ((77,), (), ()),
        "audio": (
            (1, sizes["audio_num_mel_bins"], sizes["audio_target_len"]),
            (sizes["audio_kernel_size"],) * 2,
            (sizes["audio_stride"],) * 2,
        ),
        "depth": ((1, side, side), depth, depth),
        "thermal": ((1, side, side), thermal, thermal),
        "imu": ((6, 2000), imu, imu),
    }
    present = [name for name in MODALITIES if f"modality_heads.{name}.0.weight" in weights or name == "text"]
    present = [name for name in present if any(key.startswith(f"modality_trunks.{name}.") for key in weights)]
    towers = {
        name: TowerConfig(
            sizes[f"{name}_embed_dim"], sizes[f"{name}_num_blocks"], sizes[f"{name}_num_heads"], *shapes[name],
            vocabulary=CLIP_VOCABULARY if name == "text" else 0, logit_scale=None if name == "vision" else 1.0,
        )
        for name in present
    }  # fmt: skip
    return ImageBindConfig(sizes["out_embed_dim"], towers)


def build(case: Case) -> ImageBind:
    """The case's model, its weights loaded name by name."""
    weights = case.weights()
    model = ImageBind(configuration(case.config, weights)).eval()
    if "token_embedding.rows" in weights:  # rows that are not stored are zero
        rows, ids = weights.pop("token_embedding.rows"), weights.pop("token_embedding.row_ids")
        table = torch.zeros(CLIP_VOCABULARY, rows.shape[1])
        table[ids] = rows
        weights["modality_preprocessors.text.token_embedding.weight"] = table
        mask = "modality_preprocessors.text.mask"
        weights.setdefault(mask, model.get_buffer(mask))
    model.load_state_dict(weights, strict=True)
    return model


@torch.no_grad()
def tower(case: Case) -> Iterator[Comparison]:
    """Tokens, trunk, head and embedding of one tower; against float64 too, where rounding plays no part."""
    model, modality = build(case), case.record["modality"]
    x, outputs = case.tensors["inputs/x"], case.group("outputs/")
    clips = modality in ("vision", "audio") and x.ndim >= 5
    flat = x.flatten(0, 1) if clips else x
    head = model.project(modality, flat)
    stages = {
        "tokens_row0": model.tokens(modality, flat)[:1],
        "trunk_row0": model.features(modality, flat)[:1],
        "head": head,
        "post": model.modality_postprocessors[modality](head),
    }
    yield Comparison("output", model({modality: x})[modality], outputs["output"], OUTPUT)
    yield from (Comparison(name, ours, outputs[name], STAGE) for name, ours in stages.items() if name in outputs)
    if "nextgpt_tokens_row0" in outputs:
        expected = outputs["nextgpt_tokens_row0"]
        tokens = model.patch_tokens(modality, x)[:1, : expected.shape[1]]  # those of the first clip
        yield Comparison("nextgpt_tokens_row0", tokens, expected, STAGE)
    if "output_f64" in outputs:
        exact = model.double()({modality: x.double() if x.is_floating_point() else x})[modality]
        yield Comparison("output_f64", exact, outputs["output_f64"], DOUBLE)


def state_dict(case: Case) -> Iterator[Comparison]:
    """Names, shapes and types of the released model, on the meta device."""
    with torch.device("meta"):
        found = ImageBind(ImageBindConfig.huge()).state_dict()
    differing = sorted(set(found) ^ set(case.record))
    assert not differing, f"{len(differing)} names differ, the first is {differing[0]}"
    yield Comparison("entries", torch.tensor(len(found)), torch.tensor(len(case.record)), 0)
    for name, (shape, dtype) in case.record.items():
        assert str(found[name].dtype) == dtype, f"{name} is {found[name].dtype}, expected {dtype}"
        yield Comparison(name, torch.tensor(found[name].shape), torch.tensor(shape, dtype=torch.long), 0)


def tokens(case: Case) -> Iterator[Comparison]:
    expected = case.tensors["outputs/tokens"]
    yield Comparison("tokens", ClipTokenizer()(case.record["texts"], expected.shape[1]), expected, 0)


def audio(case: Case) -> Iterator[Comparison]:
    """Log-mel clips of waves and of silence. The published loader's leaking means are reproduced on demand."""
    for key, expected in case.group("outputs/audio.").items():
        rate = int(case.tensors[f"inputs/rate.{key}"])
        silent = case.tensors.get(f"inputs/zeros_len.{key}")
        wave = case.tensors[f"inputs/wave.{key}"] if silent is None else torch.zeros(int(silent))
        ours = preprocess_audio(wave, rate, AudioSettings(), always_all_clips=True, leak_means=True)
        most, mean = (1e-6, 1e-6) if silent is not None else (2e-4, 2e-4) if rate == 16000 else (5e-2, 5e-4)
        yield from within(f"audio.{key}", ours[: len(expected)], expected, most, mean)


def video(case: Case) -> Iterator[Comparison]:
    """The three crops of frames, and when clips begin and end."""
    for name, frames in case.group("inputs/").items():  # (3, T, H, W)
        pixels = normalize(frames.transpose(0, 1).float() / 255, list(CLIP_MEAN), list(CLIP_DEVIATION))
        ours = three_crops(pixels, 224).transpose(1, 2)[..., 1::4, 2::4]  # (3 crops, 3, T, 56, 56)
        yield from within(name, ours, case.tensors[f"outputs/{name}_sub4"], 1e-4)
    for name, spans in case.record["clip_timepoints"].items():
        found = re.fullmatch(r"([\d.]+)s_(\d+)", name)
        assert found is not None, name
        starts = [float(start) for start in clip_starts(float(found[1]), 2.0, int(found[2]))]
        ours = torch.tensor([[start, start + 2.0] for start in starts], dtype=torch.float64)
        yield Comparison(f"clip_timepoints {name}", ours, torch.tensor(spans, dtype=torch.float64), 1e-9)


def media(case: Case) -> Iterator[Comparison]:
    """Real files through image and audio preprocessing. They may not be shipped: skipped where they are not."""
    beside = GOLDEN.parent / "media"
    folder = Path(os.environ.get(MEDIA_VARIABLE) or beside)
    if not folder.is_dir():
        pytest.skip(f"the media files of this case are not here: expected {beside} or the folder in {MEDIA_VARIABLE}")
    outputs = case.group("outputs/")
    for key, expected in outputs.items():
        if found := re.fullmatch(r"vision\.(\w+)_sub(\d+)", key):
            name, step = found[1], int(found[2])
            picture = np.asarray(Image.open(folder / f"{name}_image.jpg").convert("RGB"))
            yield from within(key, preprocess_image(picture, ImageSettings())[:, ::step, ::step], expected, 1e-4)
        elif found := re.fullmatch(r"wave16k\.(\w+)_ch0", key):
            wave, rate = read_wave(folder / f"{found[1]}_audio.wav")
            yield from within(key, resample(wave, rate, 16000)[0], expected, 1e-5)
    files = re.search(r"files ([\w ]+)", case.record["keys"]["outputs/audio"])
    assert files is not None, case.record["keys"]["outputs/audio"]
    for name, expected in zip(files[1].split(), outputs["audio"], strict=True):
        wave, rate = read_wave(folder / f"{name}_audio.wav")
        ours = preprocess_audio(wave, rate, AudioSettings(), always_all_clips=True, leak_means=True)
        yield from within(f"audio {name}", ours, expected, 2e-2, 1e-4)


def read_wave(path: Path) -> tuple[torch.Tensor, int]:
    """float32 (channels, N) and its rate."""
    import soundfile

    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(wave.T.copy()), rate


def within(name: str, ours: torch.Tensor, reference: torch.Tensor, most: float, mean: float | None = None):
    """Comparisons for tolerances that a json gives as absolute differences: the largest and, if asked, the mean."""
    scale = float(reference.abs().max()) or 1.0
    yield Comparison(name, ours, reference, most / scale)
    if mean is not None:
        error = (ours - reference).abs().mean() if ours.shape == reference.shape else torch.tensor(torch.nan)
        yield Comparison(f"{name}, mean error", 1 + error, torch.ones(()), mean)


KINDS: dict[str, Callable[[Case], Iterable[Comparison]]] = {
    "tower": tower,
    "state_dict": state_dict,
    "tokens": tokens,
    "audio": audio,
    "video": video,
    "media": media,
}
