"""Captioning scores: by hand on small cases, and against pycocoevalcap where it is installed."""

import importlib
import shutil

import numpy as np
import pytest

from evaluation.metrics.captions import bleu, cider_d, meteor, rouge_l, tokenize

WORDS = [
    "a",
    "red",
    "bell",
    "small",
    "dog",
    "on",
    "the",
    "beach",
    "in",
    "snow",
    "two",
    "cats",
    "sits",
    "blue",
    "at",
    "night",
    "moving",
    "left",
]


def captions(count=60, seed=0):
    """Candidates and one to five references each; every third candidate is a reference."""
    rng = np.random.default_rng(seed)
    references = [
        [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(rng.integers(1, 6))] for _ in range(count)
    ]
    said = [" ".join(rng.choice(WORDS, rng.integers(2, 12))) if n % 3 else own[0] for n, own in enumerate(references)]
    return said, references


def test_words_are_split_as_the_penn_treebank_has_them():
    assert tokenize("A man isn't here; he's on John's red-coloured boat, 2.5 m long!") == (
        "a man is n't here he 's on john 's red-coloured boat 2.5 m long"
    )
    assert tokenize('The dog (a big one) can\'t swim... "OK"') == "the dog a big one ca n't swim ok"
    assert tokenize("红色的铃铛。") == "红 色 的 铃 铛 。"


def test_a_caption_that_is_its_reference_has_the_best_score():
    said, references = ["a red bell in the snow", "two small dogs"], [["a red bell in the snow"], ["two small dogs"]]
    assert bleu(said, references, 1).total == pytest.approx(1) and rouge_l(said, references).total == pytest.approx(1)
    assert cider_d(said, references).items[0] == pytest.approx(10)
    assert bleu(["bell"], [["drum"]], 1).total < 1e-6 and rouge_l([""], [["drum"]]).total == 0


def test_a_subsequence_and_a_short_candidate_are_scored_by_hand():
    precision, recall = 1.0, 3 / 4
    expected = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    assert rouge_l(["a bell rings"], [["a red bell rings"]]).total == pytest.approx(expected)
    assert bleu(["a bell"], [["a bell rings"]], 1).total == pytest.approx(np.exp(1 - 3 / 2))


def test_scores_are_those_of_pycocoevalcap():
    pytest.importorskip("pycocoevalcap")
    said, references = captions()
    theirs = {number: list(own) for number, own in enumerate(references)}
    ours = {number: [each] for number, each in enumerate(said)}
    for module, name, scored in (("cider.cider", "Cider", cider_d), ("rouge.rouge", "Rouge", rouge_l)):
        scorer = getattr(importlib.import_module(f"pycocoevalcap.{module}"), name)()
        total, items = scorer.compute_score(theirs, ours)
        found = scored(said, references)
        assert found.total == pytest.approx(total, rel=1e-4) and found.items == pytest.approx(list(items), rel=1e-4)
    totals, items = importlib.import_module("pycocoevalcap.bleu.bleu").Bleu(4).compute_score(theirs, ours, verbose=0)
    for order in (1, 2, 3, 4):
        found = bleu(said, references, order)
        assert found.total == pytest.approx(totals[order - 1], rel=1e-4)
        assert found.items == pytest.approx(items[order - 1], rel=1e-4, abs=1e-9)


@pytest.mark.slow
def test_meteor_needs_java():
    if shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None:
        assert meteor(["a"], [["a"]]) is None
    else:
        said, references = captions(4)
        found = meteor(said, references)
        assert found is not None and 0 < found.total < 1 and len(found.items) == 4
