"""Answers to questions: what counts as the same answer, which choice a reply names, yes and no; and ranks."""

import numpy as np
import pytest

from evaluation.metrics.answers import YesNo, chosen_letter, normal_answer, says_yes, vqa_accuracy
from evaluation.metrics.ranking import retrieval


@pytest.mark.parametrize(
    ("said", "compared"),
    [
        ("The Red bell.", "red bell"),
        ("two dogs!", "2 dogs"),
        ("it isnt", "it isn't"),
        ("1,000", "1000"),
        ("3.5 m", "3.5 m"),
        ("black-white", "black white"),
        ("none", "0"),
    ],
)
def test_answers_are_compared_as_vqa_does(said, compared):
    assert normal_answer(said) == compared


def test_three_people_make_an_answer_right():
    given = ["red"] * 3 + ["blue"] * 5 + ["pink", "green"]
    assert vqa_accuracy("Blue.", given) == 1
    assert vqa_accuracy("red", given) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa_accuracy("pink", given) == pytest.approx(9 / 10 / 3)
    assert vqa_accuracy("brown", given) == 0 and vqa_accuracy("a bell", ["bell"]) == 1


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("B", 1), ("(C)", 2), ("The answer is B.", 1), ("A. a dog", 0), ("A dog is here", 0), ("It is a cat.", 1),
        ("a dog or a cat", None), ("no idea", None), ("a hot dog", 2), ("answer: A, answer: B", None),
        ("The answer is a cat.", 1), ("The answer is: B", 1), ("the answer is a.", 0), ("Answer: (c)", 2),
    ],
)  # fmt: skip
def test_a_choice_is_named_by_letter_or_by_words(said, number):
    assert chosen_letter(said, ["a dog", "a cat", "a hot dog"]) == number


def test_the_ninth_letter_is_no_pronoun():
    choices = [f"number {each}" for each in range(10)]
    assert chosen_letter("I think it is number 3", choices) == 3 and chosen_letter("I", choices) == 8


@pytest.mark.parametrize(
    ("said", "yes"),
    [("Yes.", True), ("No, there is none.", False), ("There is a dog.", True), ("There isn't a dog.", False),
     ("There is not. Yes?", False), ("I know a dog", True)],
)  # fmt: skip
def test_yes_and_no_are_read_in_the_first_sentence(said, yes):
    assert says_yes(said) is yes


def test_yes_and_no_are_counted():
    counts = YesNo.of([(True, True)] * 6 + [(True, False)] * 2 + [(False, True)] + [(False, False)] * 3)
    assert (counts.accuracy.share, counts.precision.share, counts.recall.share) == (9 / 12, 6 / 8, 6 / 7)
    assert counts.f1 == pytest.approx(2 * (6 / 8) * (6 / 7) / (6 / 8 + 6 / 7)) and counts.yes.share == 8 / 12


def test_recall_counts_what_is_nearest_and_no_ties():
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]])
    found = retrieval(similarity, ranks=(1, 2, 3))
    assert [found.recall[k].right for k in (1, 2, 3)] == [1, 2, 3] and found.median_rank == 2
    several = retrieval(similarity, np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]], bool), (1,))
    assert several.recall[1].right == 1
    with pytest.raises(ValueError, match="3 queries and 2 candidates"):
        retrieval(similarity[:, :2])
