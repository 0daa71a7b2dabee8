"""Answers to questions: VQA's soft accuracy, the letter of a choice, yes or no.

Sources: the VQA evaluation (1505.00468, 1612.00837), ScienceQA (2209.09513), POPE (2305.10355).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.statistics import Tally

ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
           "seven": "7", "eight": "8", "nine": "9", "ten": "10"}  # fmt: skip
#: Contractions that annotators write without their apostrophe: those that cannot be taken for another word.
CONTRACTIONS = {
    word.replace("'", ""): word
    for word in """
    ain't aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'd've
    i'm i've isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't she'd've
    should've shouldn't somebody'd somebody's someone'd someone'll someone's something'd something'll that's there'd
    there're there's they'd they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
    when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd
    you'll you're you've
    """.split()  # noqa: SIM905
}
_PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_<>@`?!-]")


def normal_answer(text: str) -> str:
    """An answer as VQA compares it: lower case, numbers as digits, no articles, no punctuation."""
    text = text.replace("\n", " ").replace("\t", " ").strip().lower()
    separated = re.search(r"\d,\d", text) is not None
    text = _PUNCTUATION.sub(lambda found: "" if separated or _touches_space(text, found.start()) else " ", text)
    text = re.sub(r"(?<!\d),|,(?!\d)", " ", text).replace(",", "")
    text = re.sub(r"\.(?!\d)", "", text)
    words = [NUMBERS.get(word, word) for word in text.split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _touches_space(text: str, place: int) -> bool:
    """Whether the sign at ``place`` has a space beside it: then it is left out rather than made a space."""
    return text[place - 1 : place] == " " or text[place + 1 : place + 2] == " "


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """min(1, people who say so / 3), averaged over leaving each of the people out.

    With one answer given: 1 where it is the same.
    """
    found, known = normal_answer(answer), [normal_answer(each) for each in given]
    if len(known) < 2:
        return float(found in known)
    agreeing = [sum(found == other for n, other in enumerate(known) if n != left_out) for left_out in range(len(known))]
    return sum(min(1.0, count / 3) for count in agreeing) / len(known)


def chosen_letter(text: str, choices: Sequence[str]) -> int | None:
    """Which of the choices a reply names, by its letter ("B", "(B)", "The answer is B.") or by its words alone.

    None where it names none, or several.
    """
    letters = "ABCDEFGHIJ"[: len(choices)]
    stripped = text.strip()
    if found := re.fullmatch(rf"\(?([{letters}])\)?[.:,]?(?:\s.*)?", stripped, re.DOTALL):
        word = found[1]
        if not re.match(r"[AI]\s+[a-z]", stripped):  # "A dog" is a sentence, "I think" another
            return letters.index(word)
    # Small letters count at the end alone: "the answer is a dog" names no letter.
    letter = rf"([{letters}]\b|[{letters.lower()}](?=\W*$))"
    if found := re.findall(rf"\b[Aa]nswer(?:\s+is\b\s*:?|\s*:)\s*\(?{letter}", stripped):
        return letters.index(found[-1].upper()) if len({each.upper() for each in found}) == 1 else None
    said = f" {normal_answer(stripped)} "
    named = [number for number, choice in enumerate(choices) if f" {normal_answer(choice)} " in said]
    longest = [
        n for n in named if not any(n != m and normal_answer(choices[n]) in normal_answer(choices[m]) for m in named)
    ]
    return longest[0] if len(longest) == 1 else None


def says_yes(text: str) -> bool:
    """As POPE reads a reply: no where its first sentence holds "no" or "not", else yes."""
    words = re.findall(r"[\w']+", text.strip().split(".")[0].lower())
    if words[:1] in (["yes"], ["no"]):
        return words[0] == "yes"
    return not ({"no", "not"} & set(words) or any(word.endswith("n't") for word in words))


@dataclass
class YesNo:
    """Answers to questions of yes and no, "yes" the positive class."""

    hits: int = 0  # said yes, is so
    false_alarms: int = 0
    rejections: int = 0  # said no, is so
    misses: int = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]]) -> "YesNo":
        """Of (said, true) each."""
        counts = cls()
        for said, true in pairs:
            name = ("hits" if true else "false_alarms") if said else ("misses" if true else "rejections")
            setattr(counts, name, getattr(counts, name) + 1)
        return counts

    @property
    def accuracy(self) -> Tally:
        right = self.hits + self.rejections
        return Tally(right, right + self.false_alarms + self.misses)

    @property
    def precision(self) -> Tally:
        return Tally(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> Tally:
        return Tally(self.hits, self.hits + self.misses)

    @property
    def yes(self) -> Tally:
        """How often yes is said."""
        return Tally(self.hits + self.false_alarms, self.accuracy.total)

    @property
    def f1(self) -> float:
        total = 2 * self.hits + self.false_alarms + self.misses
        return 2 * self.hits / total if total else 0.0
