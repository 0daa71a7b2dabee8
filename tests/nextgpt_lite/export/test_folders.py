"""What is handed over is read by transformers and diffusers alone, and says what it is."""

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from transformers import AutoModelForCausalLM, AutoTokenizer

from decoders.audio import deprecation_note_hidden
from encoders.media_encoder import MediaEncoder
from nextgpt_lite.checkpoint import model_hash, read_manifest, write_manifest
from nextgpt_lite.cli import main
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_lora, load_core, save_core

LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]}


@pytest.fixture(scope="module")
def model(tiny_folder, tmp_path_factory):
    """The tiny model with LoRA that does something, on keys and values too."""
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("trained") / "model")
    core = load_core(folder / "core", folder / "language_model")
    add_lora(core, LORA)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in core.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.2)
    save_core(core, folder / "core")
    write_manifest(folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def records(model, tmp_path_factory):
    """A run that made it, and its scores."""
    folder = tmp_path_factory.mktemp("records")
    recipe = {
        "task": "instruction_tuning", "steps": 7, "batch_size": 2, "accumulate": 3, "seed": 5,
        "learning_rates": {"lora": 1e-3, "language_model": 0.0}, "task_settings": {"dialogues": 12, "lora": LORA},
    }  # fmt: skip
    (folder / "runs/tuning").mkdir(parents=True)
    (folder / "runs/tuning/run.json").write_text(json.dumps({"recipe": recipe, "figures": {"right": 0.25}}))
    scores = {
        "suite": "any_to_any", "seed": 3, "count": 9, "metrics": {"mean_thing": 0.875, "matrix": {}},
        "model": {"hash": model_hash(read_manifest(model))},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(scores))
    return folder


@pytest.fixture(scope="module")
def exported(model, records, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "out"
    extra = ["--runs", str(records / "runs"), "--scores", str(records / "results.json")]
    assert main(["export", str(model), "--out", str(out), *extra]) == 0
    return out


@torch.no_grad()
def test_the_language_model_is_the_core_on_text(model, exported):
    core = load_core(model / "core", model / "language_model")
    plain = AutoModelForCausalLM.from_pretrained(exported / "language_model").eval()
    tokenizer = AutoTokenizer.from_pretrained(exported / "language_model")
    ids = torch.tensor([tokenizer("A small red bell, please.")["input_ids"]])
    expected = core(ids).logits[..., : core.table.first]
    found = plain(ids).logits[..., : core.table.first]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    base = AutoModelForCausalLM.from_pretrained(model / "language_model", dtype=torch.float32).eval()
    assert float((base(ids).logits[..., : core.table.first] - expected).abs().max()) > 1e-2, "LoRA does something"
    assert plain.dtype == torch.float32 and not any("lora" in name for name in plain.state_dict())


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_decoders_are_pipelines_of_diffusers(exported, modality):
    with deprecation_note_hidden():
        pipeline = DiffusionPipeline.from_pretrained(exported / f"{modality}_decoder")
    assert type(pipeline).__name__ in (exported / "README.md").read_text()


def test_the_encoder_is_the_one_of_the_model(model, exported):
    assert MediaEncoder.from_pretrained(exported / "encoder").identity == load_core(
        exported / "core", model / "language_model"
    ).config.encoder_identity  # fmt: skip


def test_the_card_says_what_it_is(model, exported):
    card = (exported / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert model_hash(read_manifest(model)) in card
    assert "| tuning | 7 x 6 | lora 0.001 | 5 | right 0.25 |" in card
    assert '"dialogues": 12' in card
    assert "| mean_thing | 0.875 |" in card
    assert "LoRA on k_proj, o_proj, q_proj, up_proj, v_proj is merged; weights are float32." in card
    assert "LoRA on k_proj and v_proj is merged as well" in card and "exact for text alone" in card
    record = json.loads((exported / "export.json").read_text())
    assert record["sha256"] == {n: e["sha256"] for n, e in read_manifest(model)["components"].items()}


def test_a_model_without_lora_or_prompts_is_told_so(tiny_copy, tmp_path):
    config = CoreConfig.from_dict(json.loads((tiny_copy / "core/config.json").read_text()))
    assert config.lora is None
    assert main(["export", str(tiny_copy), "--out", str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    card = (tmp_path / "out/README.md").read_text()
    assert "There was no LoRA to merge; weights are bfloat16." in card
    assert "merged as well" not in card and "## Scores" not in card
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out/language_model").dtype == torch.bfloat16


def test_what_cannot_be_exported_is_refused(model, exported, records, tmp_path, capsys):
    scores = json.loads((records / "results.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(scores | {"model": {"hash": "f" * 64}}))
    (tmp_path / "empty").mkdir()
    out = ["--out", str(tmp_path / "out")]
    for arguments, said in (
        ([str(model), "--out", str(exported)], "exists already"),
        ([str(model), *out, "--dtype", "int8"], "expected one of float32"),
        ([str(model), *out, "--runs", str(tmp_path / "empty")], "no run in"),
        ([str(model), *out, "--scores", str(tmp_path / "none.json")], "cannot be read"),
        ([str(model), *out, "--scores", str(tmp_path / "other.json")], "scores the model ffffffffffff"),
        ([str(tmp_path / "empty"), *out], "no model"),
    ):
        assert main(["export", *arguments]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"other.json", "empty"}
