"""What a reply denies does not count as said."""

import pytest

from evaluation.denials import without_denials
from evaluation.things.suite import answers


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("This is not a bell.", "This is ."),
        ("This isn't a bell but a drum.", "This but a drum."),
        ("Not a bell, a drum!", ", a drum!"),
        ("这不是铃铛，而是鼓。", "这，而是鼓。"),
        ("A nice note, nothing else.", "A nice note, nothing else."),
    ],
)
def test_denied_clauses_are_left_out(said, kept):
    assert without_denials(said).replace("  ", " ") == kept


def test_a_denied_answer_is_none():
    assert answers("There is a bell.", ("bell",)) and not answers("There is no bell here.", ("bell",))
    assert answers("No, that is a drum.", ("drum",)) and answers("No.", ("no",))
