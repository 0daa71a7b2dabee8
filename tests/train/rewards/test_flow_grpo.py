"""Rewards for a flow-matching decoder: the solver with chance in it, groups, and a network that earns more."""

import pytest
import torch

from decoders.image_critic import UNKNOWN
from tests.train.foundations.test_image_refinement import untrained_model
from train.recipe import RecipeError
from train.rewards.advantages import group_advantages, policy_loss
from train.rewards.flow_grpo import FlowGrpoTask, wanted_classes
from train.rewards.sde import Step, levels, log_probability, path, transition

MEAN, DEVIATION = 2.0, 0.5


def exact_velocity(latents, timesteps):
    """Of data that are normal: E[noise - data | latents]."""
    level = (timesteps / 1000).view(-1, 1)
    variance = ((1 - level) * DEVIATION) ** 2 + level**2
    off = latents - (1 - level) * MEAN
    return level * off / variance - (MEAN + (1 - level) * DEVIATION**2 * off / variance)


@pytest.mark.parametrize("noise", [0.0, 0.7, 1.2])
@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_with_any_chance_in_it_the_solver_draws_from_the_data(noise, shift):
    torch.manual_seed(0)
    steps = path(exact_velocity, torch.randn(20_000, 1), levels(60, shift), noise)
    drawn = steps[-1].after
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert drawn.std().item() == pytest.approx(DEVIATION, rel=0.08)


def test_a_step_is_a_gaussian_of_which_the_probability_is_known():
    torch.manual_seed(0)
    start, schedule = torch.randn(1, 3).expand(50_000, -1), levels(8, 1.0)
    first = path(exact_velocity, start, schedule, 0.7)[0]
    mean, deviation = transition(exact_velocity, start, schedule[0], schedule[1], schedule[1], 0.7)
    assert torch.allclose(first.after.mean(0), mean[0], atol=0.02)
    assert (first.after - mean).std().item() == pytest.approx(deviation, rel=0.02)
    assert torch.allclose(log_probability(Step(1.0, 0.9, start, mean + deviation), mean, deviation), torch.tensor(-0.5))
    assert log_probability(Step(1.0, 0.9, start, mean), mean, deviation).abs().max() == 0


def test_advantages_are_within_groups():
    rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    found = group_advantages(rewards)
    assert found[0].tolist() == pytest.approx([-1.2247, 0.0, 1.2247], abs=1e-3) and not found[1].any()
    logs = torch.zeros(2, requires_grad=True)
    policy_loss(logs, torch.tensor([2.0, -1.0])).backward()
    assert logs.grad.tolist() == [-1.0, 0.5]  # up where the advantage is above zero


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return untrained_model(tmp_path_factory.mktemp("model"))


def test_a_network_earns_more_and_stays_near(model_dir):
    torch.manual_seed(0)
    task = FlowGrpoTask({"group": 8, "solver_steps": 4, "kl_weight": 0.0, "held_out": 4, "noise": 1.0}, model_dir)
    batch = task.collate(["two red bells", "three blue drums"])
    assert batch["classes"].shape == (2, len(task.critic.attributes))
    optimiser = torch.optim.AdamW(task.model.flow.unet.parameters(), lr=2e-3)
    rewards = []
    for _ in range(16):
        losses = task.model(**batch)
        losses["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        rewards.append(losses["reward"].item())
    assert sum(rewards[-4:]) > sum(rewards[:4])
    assert losses["divergence"] > 0 and not any(p.requires_grad for p in task.model.reference.parameters())
    assert set(task.evaluate()) == {"reward"}


def test_one_is_asked_for_where_no_number_is_named(model_dir):
    task = FlowGrpoTask({}, model_dir)
    names = list(task.critic.attributes)
    one, two = (wanted_classes(task.critic, text) for text in ("a red bell", "two bells"))
    assert one[names.index("count")] == 0 and two[names.index("count")] == 1
    assert one[names.index("place")] == UNKNOWN and two[names.index("colour")] == UNKNOWN
    assert task.dataset[3] == task.dataset[3] and task.dataset[3]
    with pytest.raises(RecipeError, match="trained_steps is 8: expected less than the 8 solver_steps"):
        FlowGrpoTask({"trained_steps": 8}, model_dir)
