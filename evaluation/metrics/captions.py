"""Scores of captions against their references: BLEU, ROUGE-L, CIDEr-D, and METEOR where Java is.

The figures are those of the COCO caption evaluation (pycocoevalcap), which tests compare with where it is installed.
All functions take one candidate and a list of references an item, as texts of words between spaces; :func:`tokenize`
makes such texts.
"""

import importlib.util
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

import numpy as np

Grams = Counter[tuple[str, ...]]
LONGEST = 4
#: CIDEr-D: how fast a score falls with the difference of lengths, and what all scores are multiplied by.
SIGMA, SCALE = 6.0, 10.0
#: ROUGE-L: what recall counts beside precision.
BETA = 1.2
_WORDS = re.compile(r"[\u4e00-\u9fff]|n't\b|'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\w+(?:[-/.]\w+)*|\S")
_PUNCTUATION = frozenset("'' ' `` ` . ? ! , : - -- ... ; \" ( ) [ ] { } -lrb- -rrb-".split())  # noqa: SIM905


def tokenize(text: str) -> str:
    """Words in lower case between spaces, without punctuation; contractions are split as the Penn Treebank does, and
    each Chinese character is a word."""
    words = _WORDS.findall(text.lower().replace("\n", " "))
    return " ".join(word for word in words if word not in _PUNCTUATION)


class Scored(NamedTuple):
    """A score of the whole set, and one of each item."""

    total: float
    items: list[float]


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], order: int = LONGEST) -> Scored:
    """BLEU up to n-grams of ``order`` (Papineni et al. 2002), lengths against the closest reference."""
    counted = [_bleu_counts(c, r, order) for c, r in zip(candidates, references, strict=True)]
    total = np.sum(counted, 0) if counted else np.zeros((order + 1, 2))
    return Scored(_bleu_of(total), [_bleu_of(one) for one in counted])


def _bleu_counts(candidate: str, references: Sequence[str], order: int) -> np.ndarray:
    """(order + 1, 2): n-grams right and all, then the candidate's length and that of the closest reference."""
    words, rows = candidate.split(), np.zeros((order + 1, 2))
    known = [_grams(reference.split(), order) for reference in references]
    for gram, count in _grams(words, order).items():
        rows[len(gram) - 1, 0] += min(count, max(own[gram] for own in known))
    rows[:order, 1] = [max(0, len(words) - n) for n in range(order)]
    lengths = [len(reference.split()) for reference in references]
    rows[order] = len(words), min(lengths, key=lambda length: (abs(length - len(words)), length))
    return rows


def _bleu_of(rows: np.ndarray, tiny: float = 1e-15, small: float = 1e-9) -> float:
    length, reference = rows[-1]
    score = float(np.prod((rows[:-1, 0] + tiny) / (rows[:-1, 1] + small))) ** (1 / (len(rows) - 1))
    ratio = (length + tiny) / (reference + small)
    return score * (exp(1 - 1 / ratio) if ratio < 1 else 1.0)


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    """ROUGE-L (Lin 2004): the longest common subsequence, best precision and best recall over the references."""
    items = [_rouge(c.split(), [r.split() for r in own]) for c, own in zip(candidates, references, strict=True)]
    return Scored(_mean(items), items)


def _rouge(words: list[str], references: Sequence[list[str]]) -> float:
    if not words:
        return 0.0
    common = [_common(words, reference) for reference in references]
    precision = max(length / len(words) for length in common)
    recall = max(length / max(1, len(reference)) for length, reference in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, against in enumerate(other, start=1):
            before, row[place] = row[place], before + 1 if word == against else max(row[place], row[place - 1])
    return row[-1]


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    """CIDEr-D (Vedantam et al. 2015, 1411.5726): tf-idf of n-grams, clipped, with a penalty for other lengths.

    Document frequencies are those of the references of these items, so figures of different sets do not compare.
    """
    known = [[_grams(reference.split(), LONGEST) for reference in own] for own in references]
    frequency = Counter(gram for own in known for gram in set().union(*own))
    everything = log(max(1, len(candidates)))
    items = []
    for candidate, own in zip(candidates, known, strict=True):
        ours = _weighted(_grams(candidate.split(), LONGEST), frequency, everything)
        theirs = [_weighted(each, frequency, everything) for each in own]
        items.append(SCALE * _mean([_alike(ours, each) for each in theirs]))
    return Scored(_mean(items), items)


class _Weighted(NamedTuple):
    weights: list[dict[tuple[str, ...], float]]  # of each order
    norms: list[float]
    length: int  # in pairs of words, as the published code counts it


def _weighted(grams: Grams, frequency: Counter[tuple[str, ...]], everything: float) -> _Weighted:
    weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
    for gram, count in grams.items():
        weights[len(gram) - 1][gram] = count * (everything - log(max(1, frequency[gram])))
    norms = [sum(value**2 for value in each.values()) ** 0.5 for each in weights]
    return _Weighted(weights, norms, sum(count for gram, count in grams.items() if len(gram) == 2))


def _alike(ours: _Weighted, theirs: _Weighted) -> float:
    """Mean over the orders of the clipped cosine."""
    penalty = exp(-((ours.length - theirs.length) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for own, other, norm, other_norm in zip(ours.weights, theirs.weights, ours.norms, theirs.norms, strict=True):
        product = sum(min(value, other.get(gram, 0.0)) * other.get(gram, 0.0) for gram, value in own.items())
        total += product / (norm * other_norm) * penalty if norm and other_norm else 0.0
    return total / LONGEST


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scored | None:
    """METEOR 1.5, by pycocoevalcap and Java; None where one of them is not installed."""
    if shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None:
        return None
    from pycocoevalcap.meteor.meteor import Meteor  # pyright: ignore[reportMissingImports]

    scorer = Meteor()
    try:
        total, items = scorer.compute_score(
            {number: list(own) for number, own in enumerate(references)},
            {number: [each] for number, each in enumerate(candidates)},
        )
    finally:
        scorer.meteor_p.kill()
        scorer.meteor_p.wait()
        for pipe in (scorer.meteor_p.stdin, scorer.meteor_p.stdout, scorer.meteor_p.stderr):
            if pipe is not None:
                pipe.close()
    return Scored(float(total), [float(each) for each in items])


def _grams(words: list[str], order: int) -> Grams:
    """All n-grams up to ``order``, with how often they occur."""
    return Counter(
        tuple(words[start : start + n]) for n in range(1, order + 1) for start in range(len(words) - n + 1)
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
