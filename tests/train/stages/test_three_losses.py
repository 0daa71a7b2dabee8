"""The decoders' noise loss in training, and stages whose media come in as patches, on the tiny model."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import write_manifest
from nextgpt_lite.core_checkpoint import add_lora, load_core, save_core
from tests.tiny_model import CORE, medium
from tests.train.short_recipes import LORA, stage
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def short(name, folder, steps=1, learning_rates=None, **settings):
    """The shipped recipe of a stage on the tiny model, with these settings in place of the shipped ones."""
    recipe = stage(name, folder, steps=steps)
    settings = {"dialogues": 12, "tokens_per_bin": 500, "held_out": 2, **settings}
    return replace(recipe, learning_rates=learning_rates or recipe.learning_rates, task_settings=settings)


def makes(row, modality):
    return [name for name, captions in row.captions.items() if captions] == [modality]


def test_the_noise_loss_reaches_the_projections_and_not_the_decoders(tiny_folder):
    task = build_task(short("decoding_alignment", tiny_folder, noise_weight=0.5))
    listed = {id(p) for members in task.parts().values() for p in members}
    assert listed == {id(p) for p in task.model.parameters()}, "decoders are no part of the model"
    row = next(row for item in task.dataset.bins for row in item if makes(row, "image"))
    batch = task.collator([row])
    assert len(batch["latents_image"]) == len(batch["target_image"]) == len(row.captions["image"])
    without = {name: value for name, value in batch.items() if not name.startswith("latents_")}
    torch.manual_seed(0)
    losses = task.model(**batch)
    plain = task.model(**without)
    torch.testing.assert_close(losses["loss"], plain["loss"] + 0.5 * losses["noise_image"])
    (losses["loss"] - plain["loss"]).backward()
    assert task.model.core.output_projections["image"].out_fc.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in task.decoders["image"].pipeline.unet.parameters())


@pytest.mark.parametrize("projection", ["group", "mlp2x_gelu"])
def test_patches_come_in_train_and_are_used(projection, tiny_copy, tmp_path):
    group = {"inner_width": 16, "depths": [1, 1], "heads": 2, "group_tokens": [4, 0], "groups": [2]}
    changes = {
        "input_features": "patches", "input_projection": projection, "prompts": {"media_tokens": 0}, "image_size": 48,
        "input_projection_settings": group if projection == "group" else {}, "kinds": ["describe"],
    }  # fmt: skip
    chosen = {name: value for name, value in (CORE | changes).items() if name != "input_tokens"}
    recipe = short("encoding_alignment", tiny_copy, steps=2, **chosen)
    task = build_task(recipe)
    config = task.model.core.config
    assert config.input_tokens == (2 if projection == "group" else task.encoder.patch_counts())
    before = [p.detach().clone() for p in task.parts()["input_projection"]]
    TaskTrainer(task, recipe, tmp_path / "run").train()
    moved = [not torch.equal(old, new) for old, new in zip(before, task.parts()["input_projection"], strict=True)]
    assert any(moved)

    task.export(tiny_copy)
    shutil.rmtree(tiny_copy / "core")
    (tiny_copy / task.output).rename(tiny_copy / "core")
    write_manifest(tiny_copy, "tiny")
    model = AnyToAny.from_pretrained(tiny_copy)
    parts = [medium("image"), medium("audio"), medium("points")]
    _, media, _ = model.prepare([{"role": "user", "content": parts}])
    counts = model.encoder.patch_counts()
    assert [len(tokens) for tokens in media] == [counts["image"], counts["audio"], 1]
    assert counts["image"] == 9, "three by three patches of sixteen pixels"
    reply = model.chat([{"role": "user", "content": parts}], max_new_tokens=3)
    assert isinstance(reply.text, str)


def test_full_tuning_moves_the_base_and_writes_it(tiny_copy, tmp_path):
    shipped = stage("instruction_tuning", tiny_copy).learning_rates
    rates = {name: rate for name, rate in shipped.items() if name not in ("lora", "word_head")} | {
        "language_model": 1e-2
    }
    recipe = short("instruction_tuning", tiny_copy, learning_rates=rates, tuning="full")
    original = load_file(tiny_copy / "language_model/model.safetensors")["lm_head.weight"].float()
    task = build_task(recipe)
    TaskTrainer(task, recipe, tmp_path / "run").train()
    tuned = task.model.core.language_model.lm_head.weight.detach()
    task.export(tiny_copy)
    written = load_core(tiny_copy / "core", tiny_copy / "language_model").language_model.lm_head.weight.detach()
    torch.testing.assert_close(written, tuned, atol=1e-3, rtol=1e-3)
    assert (written - original).abs().max() > 5e-3


def test_a_core_with_lora_is_not_tuned_whole(tiny_copy):
    folder = tiny_copy / "core_decoding"
    core = load_core(folder, tiny_copy / "language_model")
    add_lora(core, LORA)
    save_core(core, folder)
    with pytest.raises(RecipeError, match="core_decoding has LoRA already, expected a core without to start from"):
        build_task(short("instruction_tuning", tiny_copy, tuning="full"))
    task = build_task(short("instruction_tuning", tiny_copy, lora=LORA | {"r": 3}))
    assert task.model.core.config.lora == LORA, "an earlier stage's LoRA goes on"
