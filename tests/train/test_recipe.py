"""Recipes: what is read, what is refused, and that every shipped one fits its task."""

import importlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from train import TASKS
from train.dialogues.records import sources_of
from train.recipe import RecipeError, read_recipe
from train.settings import read_settings
from train.task import build_task, trainable_groups

RECIPES = sorted((Path(__file__).parents[2] / "train/recipes").rglob("*.yaml"))
MINIMAL = {"task": "audio_vae", "steps": 3, "batch_size": 2, "learning_rates": {"vae": "1e-3"}}
#: Settings that make a task quick to build. The stages, which need a model folder, are in test_stages.
QUICK = {
    "audio_vae": {"channels": [4, 4, 4, 4], "latent_channels": 2, "groups": 2},
    "image_vae": {"block_out_channels": [4, 4], "latent_channels": 2},
    "language_model": {"dialogues": 20, "vocabulary_texts": 20, "vocabulary": 400, "hidden_size": 16, "heads": 2},
}


def write(path, **changes):
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    return path


def test_values_are_converted_to_what_is_meant(tmp_path):
    recipe = read_recipe(write(tmp_path / "a.yaml", betas=[0.8, 0.9], ema="99e-2"))
    assert recipe.learning_rates == {"vae": 1e-3}
    assert recipe.betas == (0.8, 0.9)
    assert recipe.ema == 0.99


def test_overrides_reach_into_mappings(tmp_path):
    path = write(tmp_path / "a.yaml")
    recipe = read_recipe(path, ["steps=7", "learning_rates.vae=0.5", "task_settings.groups=4", "bf16=false"])
    assert (recipe.steps, recipe.learning_rates, recipe.task_settings) == (7, {"vae": 0.5}, {"groups": 4})
    assert recipe.bf16 is False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": 3}, "unknown key 'step': did you mean 'steps'"),
        ({"zzz": 3}, "expected one of task, steps"),
        ({"steps": "many"}, "steps must be an integer, at least 1, not 'many'"),
        ({"steps": "3"}, "steps must be an integer, at least 1, not '3'"),
        ({"steps": 2.5}, "steps must be an integer, at least 1, not 2.5"),
        ({"steps": True}, "steps must be an integer, at least 1, not True"),
        ({"steps": 0}, "steps must be an integer, at least 1, not 0"),
        ({"warmup": 1.5}, "warmup must be a number, at least 0 and at most 1, not 1.5"),
        ({"bf16": "yes please"}, "bf16 must be true or false, not 'yes please'"),
        ({"learning_rates": 1e-3}, "learning_rates must be a mapping of names, each value a number, at least 0"),
        ({"learning_rates": {"vae": "fast"}}, "learning_rates.vae must be a number, at least 0, not 'fast'"),
        ({"learning_rates": {"vae": float("nan")}}, "line 3: .nan is not a decimal number"),
        ({"betas": [0.9]}, "betas must be a list of 2, each item a number, at least 0 and below 1"),
        ({"schedule": "cosin"}, "schedule must be one of cosine, linear, .*, not 'cosin': did you mean 'cosine'"),
        ({"schedule": "steep"}, "schedule must be one of cosine, linear, constant_with_warmup, not 'steep'"),
        ({"tracker": "tensorbord"}, "tracker must be one of .*: did you mean 'tensorboard'"),
        ({"torch_compile": "fast"}, "torch_compile must be true or false or one of auto, not 'fast'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, changes, said):
    with pytest.raises(RecipeError, match=said) as caught:
        read_recipe(write(tmp_path / "a.yaml", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="it is installed here")
def test_a_tracker_that_is_not_installed_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="tracker 'wandb' needs the package wandb, which is not installed"):
        read_recipe(write(tmp_path / "a.yaml", tracker="wandb"))


@pytest.mark.parametrize("override", ["steps", "=3", "task.name=3", "steps={", "stepz=3"])
def test_bad_overrides_are_refused(tmp_path, override):
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path / "a.yaml"), [override])


@pytest.mark.parametrize("text", ["- a\n- b\n", "task: [\n", ""])
def test_files_that_hold_no_recipe(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError):
        read_recipe(path)


def test_missing_files_and_keys(tmp_path):
    with pytest.raises(RecipeError, match="no recipe at"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("task: audio_vae\n")
    with pytest.raises(RecipeError, match="missing key 'batch_size'"):
        read_recipe(tmp_path / "a.yaml")


def test_an_unknown_task_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'audio_vae'"):
        build_task(read_recipe(write(tmp_path / "a.yaml", task="audio_va")))


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path):
    recipe = read_recipe(write(tmp_path / "a.yaml", task_settings={"chanels": [4]}))
    with pytest.raises(RecipeError, match="did you mean 'channels'"):
        build_task(recipe)


@pytest.mark.parametrize("name", [name for name, where in TASKS.items() if not where.startswith("tests.")])
def test_every_task_can_be_imported_and_has_a_recipe(name):
    module, _, kind = TASKS[name].partition(":")
    assert hasattr(importlib.import_module(module), kind)
    assert name in {read_recipe(path).task for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_reads_and_knows_its_task(path):
    recipe = read_recipe(path)
    module, _, kind = TASKS[recipe.task].partition(":")
    task = getattr(importlib.import_module(module), kind)
    read_settings(task.Settings, recipe.task_settings, recipe.task)
    assert any(rate > 0 for rate in recipe.learning_rates.values())


@pytest.mark.parametrize("name", QUICK)
def test_shipped_rates_name_the_parts_of_the_task(name, tmp_path):
    [path] = [path for path in RECIPES if path.stem == name]
    recipe = replace(read_recipe(path), task_settings=QUICK[name], model=str(tmp_path))
    task = build_task(recipe)
    groups = trainable_groups(task, recipe)
    trained = {id(p) for group in groups for p in group["params"]}
    assert trained == {id(p) for p in task.model.parameters() if p.requires_grad}
    assert all(
        p.ndim < 2
        for group in groups
        if group["weight_decay"] == 0 and group["name"].endswith(".vectors")
        for p in group["params"]
    )
    for part in recipe.learning_rates:
        rates = {k: v for k, v in recipe.learning_rates.items() if k != part}
        with pytest.raises(RecipeError, match=f"no rate for part '{part}'"):
            trainable_groups(task, replace(recipe, learning_rates=rates))
    with pytest.raises(RecipeError, match="unknown part 'other'"):
        trainable_groups(task, replace(recipe, learning_rates=recipe.learning_rates | {"other": 1.0}))
    with pytest.raises(RecipeError, match="nothing would be trained"):
        trainable_groups(task, replace(recipe, learning_rates=dict.fromkeys(recipe.learning_rates, 0.0)))


@pytest.mark.parametrize("name", ["image_vae", "oracle_audio", "llava_full", "text_language_model"])
def test_a_recipe_is_found_where_it_was_before(name):
    [path] = [path for path in RECIPES if path.stem == name]
    assert read_recipe(f"train/recipes/{name}.yaml") == read_recipe(path)
    assert path.parent.name != "recipes"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("steps: 9", "line 5: 'steps' is given twice, first in line 2"),
        ("warmup: .inf", "line 5: .inf is not a decimal number"),
        ("ema: .NaN", "line 5: .NaN is not a decimal number"),
        ("seed: 010", "line 5: 010 is not a decimal number"),
        ("seed: 0o17", "line 5: 0o17 is not a decimal number"),
        ("seed: 1:30", "line 5: 1:30 is not a decimal number"),
        ("ema: 1e999", "line 5: 1e999 is more than a number can be"),
        ("seed: 99999999999", "line 5: seed must be an integer, at least 0 and at most 4.29497e.09, not 99999999999"),
        (f"seed: {'9' * 5000}", "not YAML"),
        ("bf16: yes", "line 5: bf16 must be true or false, not 'yes'"),
        ("seed: off", "line 5: seed must be an integer, .* not 'off'"),
        ("warmup: 5", "line 5: warmup must be a number, at least 0 and at most 1, not 5"),
        ("warmup: -0.1", "line 5: warmup must be a number"),
        ("task_settings:\n\tdialogues: 5", "line 6: found character .*indent with spaces"),
        ("task_settings: {data: }", "line 5: a key or an item has no value"),
        ("task_settings:\n  data:", "line 6: a key or an item has no value"),
        ("task_settings: {a: 1, a: 2}", "line 5: 'a' is given twice"),
        ("sed: 1", "line 5: unknown key 'sed': did you mean 'seed'"),
        ("task_settings: &x [*x]", "line 5: found unconstructable recursive node"),
        ("task_settings: !!python/name:os.system", "line 5: could not determine a constructor"),
        ("task_settings: " + "[" * 1500, "not YAML"),
        ("[" * 5000, "could not find expected"),
    ],
)
def test_ambiguous_yaml_is_refused_with_its_line(tmp_path, line, said):
    path = tmp_path / "a.yaml"
    path.write_text(f"task: audio_vae\nsteps: 3\nbatch_size: 2\nlearning_rates: {{vae: 1e-3}}\n{line}\n")
    with pytest.raises(RecipeError, match=said) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task_settings.data=", "has no value"),
        ("task_settings.data=  ", "has no value"),
        ("task_settings.data=[{path: }]", "a key or an item has no value"),
        ("learning_rates.vae=.nan", "is not a decimal number"),
        ("learning_rates.vae=-1e-3", "learning_rates.vae must be a number, at least 0"),
        ("learning_rates.vae=nan", "learning_rates.vae must be a number, at least 0, not 'nan'"),
        ("steps=010", "is not a decimal number"),
    ],
)
def test_values_of_overrides_are_as_strict(tmp_path, override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe(write(tmp_path / "a.yaml"), [override])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_encodings_are_read_and_broken_bytes_are_not(tmp_path, encoding):
    path = write(tmp_path / "a.yaml")
    recipe, text = read_recipe(path), path.read_text()
    path.write_bytes(text.encode(encoding))
    assert read_recipe(path) == recipe
    path.write_bytes(text.encode() + b"# caf\xe9\n")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(path)


def test_nothing_is_no_source_of_data():
    with pytest.raises(RecipeError, match="an entry has one of toybox"):
        sources_of("", "start")
    assert [source.toybox for source in sources_of(None, "start")] == [True]
