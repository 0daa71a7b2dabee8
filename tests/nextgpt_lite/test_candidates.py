"""Of several candidates for a medium, the reply shows the one that fits its words and that the others agree with."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from data.toybox import render, sample
from nextgpt_lite import AnyToAny
from nextgpt_lite.candidates import best_of, candidate_seeds, readings
from nextgpt_lite.checkpoint import CheckpointError, write_manifest
from nextgpt_lite.generate import Row, Sampling


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
        assert best_of(tiny_model.encoder, "image", candidates, None) != place


def test_one_or_two_cannot_disagree(tiny_model):
    pictures = [render(sample(1, index), "image") for index in range(2)]
    assert best_of(tiny_model.encoder, "image", pictures[:1], None) == 0
    assert best_of(tiny_model.encoder, "image", pictures, None) == 0


@pytest.fixture(scope="module")
def nano():
    return AnyToAny.from_pretrained("nano")


@pytest.mark.parametrize("words", ["Here is a red bell.", "画好了：一个红色的铃铛。"])
def test_words_decide_against_the_many(nano, words):
    """Two blue bells agree with each other; the words say red."""
    scene = sample(1, 0)
    drawn = [
        render(replace(scene, thing="bell", colour=colour, count=1, jitter=jitter), "image")
        for jitter, colour in enumerate(("blue", "blue", "red"))
    ]
    for order in permutations(range(3)):
        candidates = [drawn[number] for number in order]
        assert order[best_of(nano.encoder, "image", candidates, None, words)] == 2
        assert order[best_of(nano.encoder, "image", candidates, None)] != 2
        assert order[best_of(nano.encoder, "image", candidates, None, " . ")] != 2


def test_words_decide_between_two(nano):
    scene = sample(1, 0)
    drawn = [render(replace(scene, thing=thing, repeats=2, jitter=3), "audio") for thing in ("dog", "bell")]
    assert best_of(nano.encoder, "audio", drawn, 16_000, "Listen: a dog.") == 0
    assert best_of(nano.encoder, "audio", drawn, 16_000, "Listen: a bell, twice.") == 1


@pytest.mark.parametrize("modality", ["image", "video"])
def test_the_critic_decides_where_the_encoder_knows_nothing(nano, tiny_model, modality):
    drawn = [render(replace(sample(1, 0), thing=thing), modality) for thing in ("bird", "dog")]
    for order in permutations(range(2)):
        candidates = [drawn[number] for number in order]
        for number, thing in enumerate(("bird", "dog")):
            chosen = best_of(tiny_model.encoder, modality, candidates, 4.0, f"Here is a {thing}.", nano.critic)
            assert order[chosen] == number
        assert best_of(tiny_model.encoder, modality, candidates, 4.0, "", nano.critic) == 0
    assert tiny_model.critic is None


def test_readings_leave_first_words_out():
    assert readings("Here is a bell on a meadow. ") == [
        "Here is a bell on a meadow", "is a bell on a meadow", "a bell on a meadow", "bell on a meadow",
    ]  # fmt: skip
    cat = "一只红色的猫，背景是雪地"
    assert readings(f"请看：{cat}。") == [f"请看：{cat}", cat]
    assert readings("Here is a bell.")[2:] == ["a bell", "bell"], "short sentences need it most"
    assert readings("bell") == ["bell"] and readings("Watch:") == ["Watch:"]


def test_the_reply_brings_the_words(tiny_model):
    """Each medium goes with the words in front of it; a second one without words of its own, with those before."""
    table, encode = tiny_model.table, lambda text: tiny_model.tokenizer(text, add_special_tokens=False)["input_ids"]
    image, audio = (list(table.spans[m]) for m in ("image", "audio"))
    ids = [*encode("a bell"), *image, *audio, *encode("a dog"), *audio, *encode("so it is")]
    told = [tiny_model.tokenizer.decode(said).strip() for said in table.words_of_spans(ids)]
    assert told == ["a bell", "a bell", "a dog"]
    assert table.words_of_spans([*image, *encode("a bell")]) == [[]]
    row = Row(tiny_model.prepare([{"role": "user", "content": "Both, please."}]), Sampling(), torch.Generator())
    row.reply_ids, row.conditions = ids, [(modality, torch.zeros(1)) for modality in ("image", "audio", "audio")]
    _, wanted = tiny_model.read(row)
    assert [(each.modality, each.words.strip()) for each in wanted] == [
        ("image", "a bell"), ("audio", "a bell"), ("audio", "a dog"),
    ]  # fmt: skip


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
    with pytest.raises(CheckpointError, match=r"manifest\.json: candidates"):
        AnyToAny.from_pretrained(tiny_copy, device="cpu")
