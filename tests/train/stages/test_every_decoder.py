"""Every pipeline that a decoder can be is composed, trained for in stages 2 and 3, and answers in a chat."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data.media.loading import Medium
from data.media.saving import save_medium
from decoders import DECODERS, load_decoder
from nextgpt_lite import AnyToAny
from nextgpt_lite.cli import main
from tests.decoders.tiny_pipelines import BUILDERS, SETTINGS
from tests.tiny_model import save_decoders, saying, tiny_encoder
from tests.tiny_transformers import save_qwen3
from tests.tiny_unclip import build_unclip
from tests.tiny_xl import build_tiny_xl
from train.recipe import RECIPES, read_recipe
from train.run import run_recipe

MADE_WITH_THE_TINY_MODEL = {
    "StableDiffusionPipeline": "image", "AnimateDiffPipeline": "video", "AudioLDMPipeline": "audio",
}  # fmt: skip
OTHERS: dict[str, Callable[[], Any]] = BUILDERS | {
    "StableDiffusionXLPipeline": build_tiny_xl,
    "StableUnCLIPImg2ImgPipeline": lambda: build_unclip(tiny_encoder().width),
}
SHORT = ("steps=2", "log_every=1", "bf16=false", "tracker=none", "ema=0", "torch_compile=false", "checkpoint_every=2")
CAPTION, SUFFIXES = "bell red", {"image": ".png", "video": ".mp4", "audio": ".wav"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A language model, ImageBind with a text tower, and three decoders."""
    folder = tmp_path_factory.mktemp("parts")
    save_qwen3(folder / "qwen3")
    torch.manual_seed(3)
    tiny_encoder().save_pretrained(folder / "encoder")
    save_decoders(folder)
    return folder


def decoder_folder(name: str, parts: Path, folder: Path) -> Path:
    if name in MADE_WITH_THE_TINY_MODEL:
        return parts / f"{MADE_WITH_THE_TINY_MODEL[name]}_decoder"
    OTHERS[name]().save_pretrained(folder)
    if name in SETTINGS:
        (folder / "decoder.json").write_text(json.dumps(SETTINGS[name]))
    return folder


def write_data(folder: Path, decoder: Any) -> Path:
    """Conversations in which a medium is made that the decoder itself has made, in one of them a caption alone."""
    torch.manual_seed(0)
    condition = torch.randn(1, *decoder.condition_shape)
    medium = decoder.decode(condition, seeds=[0], steps=2)[0]
    file = save_medium(Medium(decoder.modality, medium, decoder.rate), folder / f"medium{SUFFIXES[decoder.modality]}")
    shown: dict[str, Any] = {"type": decoder.modality, "path": file.name, "caption": CAPTION}
    records = []
    for number in range(6):
        part = shown if number else {key: value for key, value in shown.items() if key != "path"}
        answer = {"role": "assistant", "content": [{"type": "text", "text": "Here."}, part]}
        records.append({"messages": [{"role": "user", "content": f"make number {number}"}, answer]})
    (folder / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / "data.jsonl"


def test_every_decoder_is_tried():
    assert {*MADE_WITH_THE_TINY_MODEL, *OTHERS} == {*DECODERS}


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_compose_train_chat(name, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = decoder_folder(name, parts, tmp_path / "decoder")
    words = ["compose", str(parts / "qwen3"), str(parts / "encoder"), str(source), "--out", "model"]
    assert main(words) == 0
    decoder = load_decoder(tmp_path / "model" / f"{DECODERS[name].modality}_decoder")
    data = write_data(tmp_path, decoder)
    small = ["task_settings.output_projection_settings={width: 16, feed_forward: 16, heads: 2}"]
    run("projector", small, data)
    before = weights("core_encoding")
    run("decoding_alignment", [], data)
    aligned = weights("core_decoding")
    run("instruction_tuning", ["task_settings.noise_weight=0.5"], data)
    tuned = weights("core")
    projection = [key for key in before if key.startswith("output_projections.")]
    for earlier, later in ((before, aligned), (aligned, tuned)):
        assert any(not torch.equal(earlier[key], later[key]) for key in projection)
    model = AnyToAny.from_pretrained(tmp_path / "model", "cpu")
    conversation = [{"role": "user", "content": "make one"}]
    with saying(model, [conversation], [[decoder.modality]]):
        reply = model.chat(conversation, max_new_tokens=40, steps=2)
    [made] = reply.media
    expected = decoder.decode(torch.zeros(1, *decoder.condition_shape), seeds=[0], steps=2)[0]
    assert made.modality == decoder.modality and np.shape(made.array) == expected.shape


def run(name: str, changes: list[str], data: Path) -> None:
    words = [*SHORT, "model=model", f"task_settings.data={data}", *changes]
    figures = run_recipe(read_recipe(RECIPES / f"{name}.yaml", words), Path(f"run_{name}"))
    assert np.isfinite(figures["loss"]) if "loss" in figures else True


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_file(Path("model") / name / "model.safetensors")
