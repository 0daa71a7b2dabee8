"""GRPO for replies: what is rewarded becomes likelier; rewards are exact; what is sampled is what is learnt from."""

import pytest
import torch

from tests.train.rewards.test_preference import RATES, changed_by_resuming, pairs
from tests.train.short_recipes import LORA
from train.recipe import Recipe, RecipeError
from train.rewards.grpo import REWARDS, Said, attributes, last_reply, routed, with_reply, words
from train.run import run_recipe
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def recipe_on(manifest, model, steps=4, **settings):
    chosen = {
        "data": [{"path": str(manifest), "held_out": 0.25}], "lora": LORA, "tokens_per_bin": 700, "group": 6,
        "max_new_tokens": 6, **settings,
    }  # fmt: skip
    values = {"batch_size": 1, "log_every": 2, "checkpoint_every": 2, "tracker": "none", "bf16": False}
    return Recipe(
        task="grpo", learning_rates=RATES, model=str(model), task_settings=chosen, steps=steps, schedule="constant",
        warmup=0.0, **values,
    )  # fmt: skip


def test_what_is_rewarded_becomes_likelier(tiny_copy, tmp_path, monkeypatch):
    """Here it is that a reply ends soon."""
    monkeypatch.setitem(REWARDS, "words", lambda said, _: -len(said.text))
    recipe = recipe_on(pairs(tmp_path / "pairs"), tiny_copy, steps=12, rewards={"words": 1.0}, kl_weight=0.0)
    before = build_task(recipe).evaluate()["words"]
    assert run_recipe(recipe, tmp_path / "run")["words"] > before


def test_a_resumed_run_ends_with_the_same_weights(tiny_copy, tmp_path):
    recipe = recipe_on(pairs(tmp_path / "pairs"), tiny_copy)
    assert changed_by_resuming(recipe, tmp_path / "run") == []


def test_what_is_sampled_is_what_is_learnt_from(tiny_copy, tmp_path):
    task = build_task(recipe_on(pairs(tmp_path / "pairs"), tiny_copy))
    for parameter in task.parts()["lora"]:
        parameter.requires_grad_(True)
    task.model.start_state = {name: each.detach().clone() for name, each in task.model.tuned().items()}
    batch = task.finish(task.collate([task.dataset[0]]))
    count = len(task.dataset[0])
    assert batch["rewards"].shape == batch["advantages"].shape == (6 * count,)
    assert batch["advantages"].view(count, 6).mean(1).abs().max() < 1e-5
    assert bool(((batch["labels"] != -100).sum(1) <= 7).all())
    losses = task.model.eval()(**batch)
    assert losses["divergence"].item() == pytest.approx(0, abs=1e-6), "nothing has moved"
    with torch.no_grad():
        for parameter in task.parts()["lora"]:
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert task.model(**batch)["divergence"] > 0
    moved = [parameter.detach().clone() for parameter in task.parts()["lora"]]
    task.model(**batch)
    assert all(torch.equal(a, b) for a, b in zip(moved, task.parts()["lora"], strict=True)), "the start is left again"


def test_the_last_reply_alone_is_replaced(tiny_copy, tmp_path):
    task = build_task(recipe_on(pairs(tmp_path / "pairs"), tiny_copy))
    row = task.dataset[0][0]
    changed = with_reply(row, [5, 6], {2})
    start = last_reply(row)
    assert changed.ids == [*row.ids[:start], 5, 6] and changed.assistant_mask == [0] * start + [1, 1]
    assert with_reply(row, [], {2}).ids[-1] == 2
    truth = task.said(row.ids[start:])
    assert truth == Said("Here it is.", ["image"]) and task.reward(row.ids[start:], row) == 1.0


@pytest.mark.parametrize(
    ("reward", "said", "truth", "expected"),
    [
        (routed, Said("", ["image", "audio"]), Said("", ["audio", "image"]), 1.0),
        (routed, Said("", ["image", "image"]), Said("", ["image"]), 0.0),
        (words, Said("a red bell", []), Said("A red bell", []), 1.0),
        (words, Said("", []), Said("a", []), 0.0),
        (attributes, Said("It is a red bell.", []), Said("It is a red bell.", []), 1.0),
        (attributes, Said("It is a blue bell.", []), Said("It is a red bell.", []), 2 / 3),
        (attributes, Said("anything", []), Said("You are welcome!", []), 1.0),
    ],
)
def test_rewards_are_exact(reward, said, truth, expected):
    assert reward(said, truth) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rewards", "sentence"),
    [({"route": 1.0}, "unknown reward 'route': expected some of routed, words, attributes"),
     ({"routed": 0.0}, "rewards are all of weight 0")],
)  # fmt: skip
def test_rewards_that_are_none_are_refused(rewards, sentence, tiny_copy, tmp_path):
    with pytest.raises(RecipeError, match=sentence):
        build_task(recipe_on(pairs(tmp_path / "pairs"), tiny_copy, rewards=rewards))
