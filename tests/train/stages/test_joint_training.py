"""Joint training on the tiny model: captions and instructions move groups of their own, step by step."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from encoders.open_clip import OpenClipConfig, OpenClipVision
from nextgpt_lite.core_checkpoint import load_core, trained_state
from tests.tiny_model import CORE
from train.dialogues.records import toybox_conversations
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError, read_recipe
from train.stages.joint_training import CAPTION_PARTS, INSTRUCTION_PARTS
from train.task import build_task, trainable_groups

RECIPE = Path(__file__).parents[3] / "train/recipes/joint_training.yaml"
#: LLaMA-Adapter V2 with pictures: CLIP's tower, queries and blocks in place of a bind network.
VISUAL = {
    "visual": {"tokens": 2, "inner_width": 16, "blocks": 1, "heads": 2},
    "prompts": {"media_tokens": 2, "keys": True, "reach": "row"},
}
FORMS = {"bind network": ({}, {}), "tower": ({"visual_prompts": 1e-3, "bind_network": 0.0}, VISUAL)}
SHAPE = {name: CORE[name] for name in ("signal_tokens", "bind", "output_projection_settings", "conditions")}
LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "up_proj"]}


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("joint") / "model")
    torch.manual_seed(0)
    tower = OpenClipVision(OpenClipConfig(size=16, patch=8, width=16, layers=1, heads=2, output_width=12))
    tower.save_pretrained(folder / "vision_tower")
    return folder


def recipe_for(folder, rates=(), settings=(), **changes):
    settings = {"dialogues": 18, "tokens_per_bin": 300, "held_out": 3, "static_tokens": 3, **SHAPE, **dict(settings)}
    recipe = read_recipe(RECIPE)
    short = {"steps": 8, "warmup": 0.0, "checkpoint_every": 100, "tracker": "none", "bf16": False}
    rates = recipe.learning_rates | dict(rates)
    return replace(recipe, model=str(folder), task_settings=settings, learning_rates=rates, **short | changes)


class Watch(TrainerCallback):
    """Which parts each step has moved, beside those that its batch was allowed to move."""

    def __init__(self, task):
        self.task, self.steps, self.allowed = task, [], None
        asked = task.trainable_parts
        task.trainable_parts = lambda batch: self._note(asked(batch))

    def _note(self, allowed):
        self.allowed = allowed
        return allowed

    def on_step_begin(self, *args, **kwargs):
        parts = self.task.parts().items()
        self.before = {part: [p.detach().clone() for p in members] for part, members in parts}

    def on_step_end(self, *args, **kwargs):
        moved = {
            part
            for part, members in self.task.parts().items()
            if any(not torch.equal(old, new) for old, new in zip(self.before[part], members, strict=True))
        }
        self.steps.append((self.allowed, moved))


@pytest.mark.parametrize(("form", "accumulate"), [("bind network", 1), ("bind network", 2), ("tower", 1)])
def test_no_step_moves_the_other_group(folder, tmp_path, form, accumulate):
    recipe = recipe_for(folder, *FORMS[form], gradient_accumulation_steps=accumulate)
    task = build_task(recipe)
    watch = Watch(task)
    trainer = TaskTrainer(task, recipe, tmp_path / "run")
    trainer.add_callback(watch)
    trainer.train()
    assert {allowed for allowed, _ in watch.steps} == {CAPTION_PARTS, INSTRUCTION_PARTS}
    assert [sorted(moved - set(allowed)) for allowed, moved in watch.steps if moved - set(allowed)] == []
    trained = {part for part, rate in recipe.learning_rates.items() if rate > 0}
    assert set.union(*(moved for _, moved in watch.steps)) == trained
    assert all(p.requires_grad == (part in trained) for part, ps in task.parts().items() for p in ps)

    task.export(folder)
    again = load_core(folder / "core_joint", folder / "language_model")
    with torch.no_grad():  # what is written has half precision
        for parameter in trained_state(task.model.core).values():
            parameter.copy_(parameter.half())
        ids = torch.arange(9)[None]
        assert torch.equal(again(ids).logits, task.model.core.eval()(ids).logits)


def test_instruction_tuning_goes_on_from_visual_prompts(folder, tmp_path):
    build_task(recipe_for(folder, *FORMS["tower"])).export(folder)
    recipe = read_recipe(RECIPE.with_name("instruction_tuning.yaml"))
    settings = {"start": "core_joint", "kinds": ["describe"], "dialogues": 8, "held_out": 2, "lora": LORA}
    settings |= {"tokens_per_bin": 300, "caption_weight": 0.0}
    recipe = replace(recipe, model=str(folder), task_settings=settings, steps=2, warmup=0.0, tracker="none", bf16=False)
    task = build_task(recipe)
    recipe = replace(recipe, learning_rates=dict.fromkeys(task.parts(), 1e-3) | {"language_model": 0.0})
    assert isinstance(task.encoder, OpenClipVision)
    before = {name: value.clone() for name, value in trained_state(task.model.core).items() if "lora_B" in name}
    TaskTrainer(task, recipe, tmp_path / "run").train()
    after = trained_state(task.model.core)
    assert before and all(not torch.equal(value, after[name]) for name, value in before.items())


def test_the_groups_are_disjoint_and_leave_nothing_out(folder):
    assert not set(CAPTION_PARTS) & set(INSTRUCTION_PARTS)
    recipe = recipe_for(folder, {"lora": 1e-3}, {"lora": LORA, "bias_tuning": {"scale": "none"}})
    task = build_task(recipe)
    trainable_groups(task, recipe)
    listed = [id(p) for members in task.parts().values() for p in members]
    assert sorted(listed) == sorted(id(p) for p in task.model.parameters())
    frozen = {"language_model", "output_projections"}
    assert task.parts().keys() - frozen <= {*CAPTION_PARTS, *INSTRUCTION_PARTS}


def test_captions_have_media_and_instructions_have_none(folder):
    task = build_task(recipe_for(folder))
    batches = [task.collate([item]) for item in task.dataset]
    assert {bool(batch["instruction"]) for batch in batches} == {True, False}
    for batch in batches:
        assert ("media_embeddings" in batch) != bool(batch["instruction"])
    assert set(task.evaluate()) >= {"loss", "right", "right_describe", "right_text_to_text", "right_talk"}
    with pytest.raises(RecipeError, match="a batch holds captions and instructions"):
        task.collate([task.dataset[0], task.dataset[len(task.dataset) - 1]])


def test_a_tower_is_shown_pictures_only(folder):
    task = build_task(recipe_for(folder, *FORMS["tower"]))
    media = [task.collate([item]) for item in task.dataset]
    shapes = {tuple(batch["media_embeddings"].shape[2:]) for batch in media if "media_embeddings" in batch}
    assert shapes == {(task.encoder.tokens, 12)} and task.model.core.visual_prompts is not None
    with pytest.raises(RecipeError, match="too few dialogues of kind count have media that the encoder reads: audio"):
        list(toybox_conversations(1, 2, ["count"], ["audio"]))


def test_groups_that_are_not_disjoint_train_together(folder, tmp_path):
    recipe = recipe_for(folder, settings={"disjoint": False}, steps=2)
    task = build_task(recipe)
    watch = Watch(task)
    trainer = TaskTrainer(task, recipe, tmp_path / "run")
    trainer.add_callback(watch)
    trainer.train()
    assert {allowed for allowed, _ in watch.steps} == {None}
    moved = set.union(*(moved for _, moved in watch.steps))
    assert moved & set(CAPTION_PARTS) and moved & set(INSTRUCTION_PARTS)
    both = [step for _, step in watch.steps if step & set(CAPTION_PARTS) and step & set(INSTRUCTION_PARTS)]
    assert both, "a step moves both"


def test_late_fusion_adds_media_to_the_static_prompts(folder):
    prompts = build_task(recipe_for(folder, settings={"fusion": "late"})).model.core.gated_prompts
    assert prompts.media_added and not prompts.media_tokens
    assert [prompts.has_static(layer) for layer in range(2)] == [False, True]


def test_what_would_mix_the_groups_is_refused(folder, tmp_path):
    recipe = recipe_for(folder, gradient_accumulation_steps=2)
    task = build_task(recipe)
    task.sample_groups = lambda: None
    with pytest.raises(RecipeError, match="gradient_accumulation_steps x processes must be 1, not 2"):
        TaskTrainer(task, recipe, tmp_path / "run")
    with pytest.raises(RecipeError, match="early_layers 2 must lie between 1 and 1"):
        build_task(recipe_for(folder, settings={"early_layers": 2}))
