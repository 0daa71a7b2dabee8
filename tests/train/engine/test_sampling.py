"""The order of samples: whole steps, one group a step, the same for one process and for several."""

from collections import Counter

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from train.engine.sampling import StepSampler


def epochs(sampler, count):
    return [list(sampler) for _ in range(count)]


def test_an_epoch_is_a_shuffle_cut_to_whole_steps():
    sampler = StepSampler(11, 3, seed=5)
    first, second = epochs(sampler, 2)
    whole = torch.randperm(11, generator=torch.Generator().manual_seed(5)).tolist()
    assert first == whole[:9] and len(sampler) == 9
    assert second != first and len(set(second)) == 9
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_fewer_samples_than_a_step_are_seen_again():
    order = list(StepSampler(2, 5, seed=0))
    assert len(order) == 5 and set(order) == {0, 1}


def test_a_step_holds_one_group():
    groups = [0] * 10 + [1] * 13
    sampler = StepSampler(23, 4, seed=1, groups=groups)
    order = list(sampler)
    steps = [order[start : start + 4] for start in range(0, len(order), 4)]
    assert len(order) == len(sampler) == 20
    assert all(len({groups[i] for i in step}) == 1 for step in steps)
    assert {groups[step[0]] for step in steps} == {0, 1}


def test_a_group_smaller_than_a_step_is_not_left_out():
    order = list(StepSampler(9, 4, seed=0, groups=[0] * 8 + [1]))
    assert Counter(order)[8] == 4 and len(order) == 12


def test_processes_share_the_steps_of_one():
    def sampler():
        return BatchSampler(StepSampler(23, 12, seed=3, groups=[i % 2 for i in range(23)]), 2, drop_last=True)

    alone = list(sampler())
    shared = [list(BatchSamplerShard(sampler(), 3, rank)) for rank in range(3)]
    assert [batch for step in zip(*shared, strict=True) for batch in step] == alone


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"count": 0}, "empty"), ({"groups": [0, 1]}, "2 groups for 5 samples")],
)
def test_what_cannot_be_sampled_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        StepSampler(**{"count": 5, "step": 1, "seed": 0} | settings)
