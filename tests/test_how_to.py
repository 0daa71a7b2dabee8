"""Each page of docs/how_to is followed to the letter: its commands, each a process of its own, and its Python.

The parts that a reader brings (a table of images, a language model, a pipeline, a vision tower) are made here, small,
of the real classes. Training takes two steps; nothing else of a page is changed.
"""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.atomic import hash_folder

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/how_to"
#: Appended to every ``nextgpt-lite train`` of a page.
SHORT = ("steps=2", "checkpoint_every=2", "log_every=1", "bf16=false", "torch_compile=false", "tracker=none", "ema=0",
         "task_settings.dialogues=24", "task_settings.held_out=4")  # fmt: skip


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (PAGES / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path):
    """An empty folder that looks like the repository's root to the commands of a page."""
    for name in ("nextgpt_lite", "train"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def follow(page: str, place: Path) -> list[str]:
    """Run every command of a page; returns what each printed."""
    return [run(line, place) for block in blocks(page, "bash") for line in block.splitlines() if line]


def run(line: str, place: Path) -> str:
    words = shlex.split(line)
    if words[0] == "nextgpt-lite":
        words = [sys.executable, "-m", "nextgpt_lite.cli", *words[1:], *(SHORT if words[1] == "train" else ())]
    elif words[0] == "python":
        words[0] = sys.executable
    else:
        words = ["bash", "-c", line]  # shell commands may have wildcards
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    return done.stdout


def write_pairs(place: Path, page: str = "train_a_projector.md", name: str = "pairs.csv") -> None:
    """The table of a page with images of two colours."""
    rows = list(csv.reader(blocks(page, "csv")[0].splitlines()))
    folder = Path(rows[1][0]).parent
    rows += [[f"{folder}/{number:04}.png", rows[1 + number % 2][1]] for number in range(3, 25)]
    (place / folder).mkdir()
    for number, (file, _) in enumerate(rows[1:]):
        colour = (200, 30, 30) if number % 2 == 0 else (30, 160, 30)
        Image.fromarray(np.full((64, 64, 3), colour, np.uint8)).save(place / file)
    with (place / name).open("w", newline="") as table:
        csv.writer(table).writerows(rows)


@pytest.mark.slow
def test_train_a_projector(place):
    write_pairs(place)
    *_, chat, evaluation = follow("train_a_projector.md", place)
    assert chat.strip()
    assert "routing_precision" in evaluation
    records = (place / "my_pairs/manifest.jsonl").read_text().splitlines()
    assert len(records) == 24


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven commands
def test_use_your_own_models(place):
    from tests.tiny_transformers import save_clip, save_qwen3, save_siglip

    page = "use_your_own_models.md"
    write_pairs(place, page, "captions.csv")
    save_qwen3(place / "qwen3"), save_clip(place / "clip"), save_siglip(place / "siglip")
    (place / "my_model.yaml").write_text(blocks(page, "yaml")[0])
    before = {name: hash_folder(place / name) for name in ("qwen3", "clip", "siglip", "pictures")}
    _, _, chat, *_, again = follow(page, place)
    assert chat.strip() and again.strip()
    assert {name: hash_folder(place / name) for name in before} == before


@pytest.mark.slow
def test_swap_the_language_model(place):
    from tests.tiny_transformers import save_qwen3

    save_qwen3(place / "qwen3")
    follow("swap_the_language_model.md", place)
    core = json.loads((place / "my_model/core/config.json").read_text())
    assert core["text_config"]["model_type"] == "qwen3"


@pytest.mark.slow
def test_use_another_decoder(place):
    from tests.tiny_xl import build_tiny_xl

    build_tiny_xl().save_pretrained(place / "sdxl")
    printed = follow("use_another_decoder.md", place)
    length, width = next(text for text in printed if text.startswith("(")).strip(" ()\n").split(", ")
    page = (PAGES / "use_another_decoder.md").read_text()
    assert f"conditions.image=[{length},{width}]" in page
    settings = json.loads(blocks("use_another_decoder.md", "json")[0])
    (place / "my_model/image_decoder/decoder.json").write_text(json.dumps(settings))
    from decoders import load_decoder

    decoder = load_decoder(place / "my_model/image_decoder")
    assert (decoder.default_steps, decoder.default_guidance) == (settings["steps"], settings["guidance"])


def test_add_an_encoder(place, monkeypatch):
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    from encoders import ENCODERS, load_encoder

    monkeypatch.chdir(place)
    size = {"height": 32, "width": 32}
    config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    SiglipVisionModel(config).save_pretrained("siglip")
    SiglipImageProcessor(size=size).save_pretrained("siglip")
    code = "\n\n".join(blocks("add_an_encoder.md", "python"))
    try:
        exec(compile(code, "add_an_encoder.md", "exec"), {"__name__": "add_an_encoder"})
        encoder = load_encoder(place / "my_model/encoder")
        image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
        unit = encoder.embed("image", encoder.preprocess("image", image)[None])
        assert unit.shape == (1, encoder.width) and torch.allclose(unit.norm(dim=-1), torch.ones(1))
        assert len(encoder.patches("image", encoder.preprocess("image", image)[None])[0]) == 16
        assert encoder.patch_counts() == {"image": 16} and len(encoder.identity) == 64
    finally:
        ENCODERS.pop("SiglipEncoder", None)


@pytest.mark.slow
def test_use_it_elsewhere(place, tiny_folder, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "my_model").symlink_to(tiny_folder)
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save("image.png")
    page = "use_it_elsewhere.md"
    exec(compile("\n".join(blocks(page, "python")), page, "exec"), {"__name__": "use_it_elsewhere"})
    assert "generated_text" in capsys.readouterr().out
    follow(page, place)
    assert (place / "my_model.gguf").is_file() and (place / "my_decoders/image_decoder/network.onnx").is_file()
    assert (place / "my_folders/README.md").is_file()


def test_every_page_is_followed_by_a_test():
    tested = {
        "use_your_own_models",
        "train_a_projector",
        "swap_the_language_model",
        "use_another_decoder",
        "add_an_encoder",
        "use_it_elsewhere",
        "add_a_medium",  # tests/test_new_medium.py
        "use_published_weights",  # tests/nextgpt_lite/released_weights/test_page.py
    }
    assert {page.stem for page in PAGES.glob("*.md")} == tested


def test_a_page_opens_at_most_three_files():
    """Links of a page to code, and a page is the first file that is opened."""
    for page in PAGES.glob("*.md"):
        links = set(re.findall(r"\]\((\S+?\.(?:py|yaml))\)", page.read_text("utf-8")))
        assert len(links) <= 3, f"{page.name}: {sorted(links)}"
        for link in re.findall(r"\]\((\S+?)\)", page.read_text("utf-8")):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name}: {link}"
