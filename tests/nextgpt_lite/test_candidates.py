"""Of several candidates for a medium, the reply shows the one that the others agree with."""

import json

import numpy as np
import pytest
import torch

from data.toybox import render, sample
from nextgpt_lite import AnyToAny
from nextgpt_lite.candidates import agreed_on, candidate_seeds
from nextgpt_lite.checkpoint import CheckpointError, write_manifest


@pytest.fixture
def conditions(tiny_model):
    length, width = tiny_model.decoders["image"].condition_shape
    return torch.randn(2, length, width, generator=torch.Generator().manual_seed(0))


def test_the_odd_one_is_not_chosen(tiny_model):
    picture = render(sample(1, 0), "image")
    near = [picture, np.clip(picture.astype(int) + 3, 0, 255).astype(np.uint8), picture[:, ::1].copy()]
    odd = np.random.default_rng(0).integers(0, 256, picture.shape, dtype=np.uint8)
    for place in range(4):
        candidates = [*near[:place], odd, *near[place:]]
        assert agreed_on(tiny_model.encoder, "image", candidates, None) != place


def test_one_or_two_cannot_disagree(tiny_model):
    pictures = [render(sample(1, index), "image") for index in range(2)]
    assert agreed_on(tiny_model.encoder, "image", pictures[:1], None) == 0
    assert agreed_on(tiny_model.encoder, "image", pictures, None) == 0


def test_a_medium_is_one_of_its_candidates_whatever_the_batch(tiny_model, conditions, monkeypatch):
    monkeypatch.setattr(tiny_model, "candidates", {"image": 3})
    together = tiny_model.decode("image", conditions, [5, 6], steps=2)
    alone = [
        tiny_model.decode("image", row[None], [seed], steps=2)[0] for row, seed in zip(conditions, (5, 6), strict=True)
    ]
    monkeypatch.setattr(tiny_model, "candidates", {})
    for medium, single, row, seed in zip(together, alone, conditions, (5, 6), strict=True):
        assert np.abs(medium.array.astype(int) - single.array).max() <= 1
        seeds = candidate_seeds(seed, 3)
        assert seeds[0] == seed and len(set(seeds)) == 3
        made = tiny_model.decode("image", row.expand(3, -1, -1), seeds, steps=2)
        assert min(np.abs(medium.array.astype(int) - each.array).max() for each in made) <= 1


def test_the_manifest_says_how_many(tiny_copy):
    assert AnyToAny.from_pretrained(tiny_copy, device="cpu").candidates == {}
    write_manifest(tiny_copy, "tiny", {"image": 3})
    assert AnyToAny.from_pretrained(tiny_copy, device="cpu").candidates == {"image": 3}


@pytest.mark.parametrize("candidates", [{"image": 0}, {"image": True}, {"image": 17}, {"points": 2}, [4], "four"])
def test_other_numbers_are_refused(tiny_copy, candidates):
    path = tiny_copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"candidates": candidates}))
    with pytest.raises(CheckpointError, match=r"has candidates .*, expected numbers"):
        AnyToAny.from_pretrained(tiny_copy, device="cpu")
