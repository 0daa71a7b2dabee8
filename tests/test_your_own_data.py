"""docs/your_own_data.md as a test: import, build, chat and evaluate, each a process of its own.

Made of printed digits and tones at a handful of steps; with the folder of real ones (``images/``, ``audio/``,
``labels.csv``) in NEXTGPT_DIGITS the documented build is run as it stands and its table must hold.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.digits import WORDS, write_digits

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "train/builds/digits.yaml"
REAL = os.environ.get("NEXTGPT_DIGITS")
#: Cell -> least share right on the test split.
AIMS = {
    "image->text": 0.95, "audio->text": 0.90, "text->image": 0.90, "text->audio": 0.80, "audio->image": 0.80,
}  # fmt: skip
#: Settings that make every part of the documented build as small as it can be.
SMALL = {
    "text_encoders": {"width": 32, "layers": 1},
    "image_vae": {"image_size": 32, "block_out_channels": [8, 8, 8, 8], "latent_channels": 4, "held_out": 2},
    "language_model": {"vocabulary": 400, "hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 48},
    "encoder": {
        "shared_width": 32, "image_size": 32, "vision_width": 32, "vision_depth": 1, "audio_width": 32,
        "audio_depth": 1, "text_width": 32, "text_depth": 1, "vocabulary": 300, "held_out": 4, "variations": 2,
    },
    "audio_vae": {"channels": [8, 8, 8, 8], "latent_channels": 4, "groups": 4, "held_out": 2},
    "judge_image": {"width": 8, "variations": 2, "held_out": 4},
    "judge_audio": {"width": 8, "variations": 2, "held_out": 4},
    "encoding_alignment": {
        "signal_tokens": {"image": 2, "audio": 2}, "conditions": {"image": [4, 32], "audio": [1, 32]},
        "bind": {"inner_width": 24, "blocks": 1, "input_scale": 4.0}, "input_tokens": 2,
        "input_projection_settings": {"inner_width": 24, "input_scale": 4.0},
        "output_projection_settings": {
            "width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16,
        },
    },
    "vocoder": {"pool": 4, "channels": 16, "kernels": [3], "dilations": [1], "frames": 20, "held_out": 2},
    "image_diffusion": {"block_out_channels": [16, 16], "norm_num_groups": 4, "attention_heads": 2, "held_out": 2},
    "audio_diffusion": {"channels": [16, 16], "attention": [False, True], "held_out": 2},
}  # fmt: skip


def documented(*words: str, cwd: Path, timeout: int = 900) -> str:
    """Output of a command of the tutorial, run in ``cwd``."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def imported(table: Path, split: str, cwd: Path) -> str:
    """The manifest of a split, imported by the documented command."""
    out = f"digits/{split}"
    options = ("--set", f"split={split}", "--set", f"words={WORDS}", "--link")
    documented("nextgpt_lite.cli", "import", "labelled", str(table), "--out", out, *options, cwd=cwd, timeout=3600)
    return f"{out}/manifest.jsonl"


def small_build(path: Path) -> Path:
    """The documented build with the same runs in the same order, every part tiny and trained for two steps."""
    build = yaml.safe_load(DIGITS.read_text())
    for name, run in build["runs"].items():
        given = run.setdefault("set", {})
        given |= {"steps": 2, "batch_size": min(given.get("batch_size", 2), 2), "checkpoint_every": 1, "bf16": False}
        given["task_settings"] = given.get("task_settings", {}) | SMALL.get(name, {})
        given["tracker"] = "none"
    path.write_text(yaml.safe_dump(build, sort_keys=False))
    return path


def test_the_small_build_is_the_documented_one(tmp_path):
    small, whole = yaml.safe_load(small_build(tmp_path / "small.yaml").read_text()), yaml.safe_load(DIGITS.read_text())
    assert list(small["runs"]) == list(whole["runs"]) and set(SMALL) <= set(whole["runs"])


def test_every_command_of_the_tutorial_names_a_file_that_exists():
    text = (ROOT / "docs/your_own_data.md").read_text()
    named = set(re.findall(r"(?:train|docs)/[a-z_/]+\.yaml", text))
    assert {"train/builds/digits.yaml", "docs/digits.yaml"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_import_build_chat_evaluate(tmp_path):
    table = write_digits(tmp_path / "raw", train=2, test=1)
    train, test = (imported(table, split, tmp_path) for split in ("train", "test"))
    build = str(small_build(tmp_path / "digits.yaml"))
    printed = documented("train.build", build, "--data", train, "--out", "runs/digits", cwd=tmp_path, timeout=3000)
    assert "instruction_tuning done" in printed
    again = documented("train.build", build, "--data", train, "--out", "runs/digits", cwd=tmp_path)
    assert "started" not in again, "what is done is not run again"

    picture = sorted((tmp_path / "raw/images").iterdir())[0]
    words = ("nextgpt_lite.cli", "chat", "What digit is this?", "--attach", str(picture), "--model", "runs/digits")
    reply = json.loads(documented(*words, "--out", "outputs", "--json", cwd=tmp_path))
    assert isinstance(reply["text"], str) and isinstance(reply["media"], list)

    words = ("nextgpt_lite.cli", "evaluate", "own_data", "--data", test, "--model", "runs/digits")
    words += ("--judge", "runs/digits/judges", "--count", "12", "--out", "outputs/digits")
    printed = documented(*words, cwd=tmp_path)
    cells = json.loads((tmp_path / "outputs/digits/results.json").read_text())["metrics"]["judged"]
    assert cells and all(0 <= cell["right"] <= 1 and cell["count"] > 0 for cell in cells.values())
    assert all(f"judged.{cell}" in printed for cell in cells)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(REAL is None, reason="NEXTGPT_DIGITS names no folder of real digits")
def test_the_table_of_the_tutorial(tmp_path):
    table = Path(REAL or "") / "labels.csv"
    train, test = (imported(table, split, tmp_path) for split in ("train", "test"))
    words = ("train.build", str(DIGITS), "--data", train, "--out", "runs/digits")
    documented(*words, cwd=tmp_path, timeout=3 * 3600)
    words = ("nextgpt_lite.cli", "evaluate", "own_data", "--data", test, "--model", "runs/digits", "--count", "1200")
    documented(*words, "--judge", "runs/digits/judges", "--out", "outputs/digits", cwd=tmp_path, timeout=3600)
    found = json.loads((tmp_path / "outputs/digits/results.json").read_text())["metrics"]["judged"]
    assert {cell: found[cell]["right"] for cell in AIMS if found[cell]["right"] < AIMS[cell]} == {}
