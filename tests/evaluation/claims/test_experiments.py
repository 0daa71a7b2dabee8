"""Experiments as they are read: the shipped ones, and what one may not say."""

import pytest

from data.strict import SettingsError
from evaluation.claims.experiments import chosen, experiments, read_experiment
from nextgpt_lite.cli import main
from train.recipe import read_recipe

GOOD = """
paper: A paper
task: a task
runs:
  base: {recipe: language_model, set: {steps: 3, task_settings.layers: 1}}
  lora: {recipe: llava_projector, from: base, set: {steps: 5}, measure: {replies: {kinds: {}}}}
  other: {like: lora, set: {warmup: 0.5}}
claims:
  best: {says: s, paper: p, run: lora, against: other, figure: [loss], better: lower, margin: 0.1}
"""


def read(tmp_path, text):
    path = tmp_path / "paper.yaml"
    path.write_text(text, encoding="utf-8")
    return read_experiment(path)


def test_a_run_is_like_another_but_for_what_it_says(tmp_path):
    plan = read(tmp_path, GOOD)
    assert plan.runs["other"].values == {"steps": 5, "warmup": 0.5}
    assert (plan.runs["other"].start, plan.runs["other"].measure) == ("base", plan.runs["lora"].measure)
    assert plan.needed(["best"]) == ["base", "other", "lora"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("from: base", "from: basis", "runs.lora: from 'basis': expected a run that stands before it"),
        ("like: lora", "like: lara", "runs.other: like 'lara': expected a run that stands before it"),
        ("against: other", "against: othr", "claims.best: unknown run 'othr'.*other"),
        ("recipe: language_model", "recipe: langage", "runs.base: no recipe 'langage'"),
        ("better: lower", "better: less", "claims.best.*better"),
        ("margin: 0.1", "margin: 0", "claims.best.*margin"),
        ("paper: A paper", "papr: A paper", "unknown key 'papr'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, before, after, message):
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, GOOD.replace(before, after))


@pytest.mark.parametrize("name", experiments())
def test_recipes_know_what_a_shipped_experiment_sets(name):
    for run in experiments()[name].runs.values():
        recipe = read_recipe(run.file, [f"{key}={value}" for key, value in run.values.items() if key == "steps"])
        assert recipe.steps == run.values["steps"]


def test_claims_are_chosen_by_their_names_or_their_papers():
    assert [(plan.name, claims) for plan, claims in chosen(["lora_alone_falls_short"])] == [
        ("longlora", ["lora_alone_falls_short"])
    ]
    [(plan, claims)] = chosen(["longlora"])
    assert claims == list(plan.claims)
    assert {plan.name for plan, _ in chosen([])} == set(experiments())
    names = [name for plan in experiments().values() for name in plan.claims]
    assert len(names) == len(set(names)) >= 13


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lora_alone_fall_short"], "unknown claim 'lora_alone_fall_short'"),
        (["--seeds", "0"], "--seeds must be at least 1, not 0"),
        (["--first-seed", "-1"], "--first-seed must not be below 0"),
    ],
)
def test_bad_arguments_end_in_a_sentence(words, message, capsys):
    assert main(["claims", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_claims_are_listed(capsys):
    assert main(["claims", "--list"]) == 0
    assert "zero_initialised_gates" in capsys.readouterr().out
