"""Passkey documents, on characters as tokens: exact lengths, the key where it was asked for, the roles right."""

import numpy as np
import pytest

from data.passkey import ANSWER, FILLER, FIRST, REPEATED, TASK, PasskeyWriter, draw_key


@pytest.fixture(scope="module")
def writer():
    return PasskeyWriter(lambda text: [ord(character) for character in text])


def text_of(ids):
    return "".join(map(chr, ids))


@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("length", [300, 1001])
def test_a_document_has_its_length_and_its_key_at_its_depth(writer, length, depth):
    document = writer.document(length, 48213, depth)
    text = text_of(document.ids)
    assert len(document.ids) == len(document.roles) == length
    assert text.startswith(TASK) and text.endswith("What is the pass key? The pass key is 48213.")
    said = "\nThe pass key is 48213. Remember it. 48213 is the pass key.\n"
    filler = text.removeprefix(TASK).partition("\nWhat is the pass key?")[0].replace(said, "|")
    before, _, after = filler.partition("|")
    assert len(before) == round(depth * (len(filler) - 1))
    assert (FILLER * 20).startswith(before) and (FILLER * 20).startswith(after)


def test_roles_mark_the_key(writer):
    document = writer.document(400, 77, 0.5)
    for role, said in ((FIRST, " 77"), (REPEATED, " 77"), (ANSWER, " 77.")):
        assert text_of(i for i, r in zip(document.ids, document.roles, strict=True) if r == role) == said
    assert text_of(document.ids[document.answer_start :]) == " 77."


def test_the_question_can_be_asked_often(writer):
    most = writer.max_questions(600)
    document = writer.document(600, 31, 0.2, questions=most)
    assert len(document.ids) == 600
    assert text_of(document.ids).count("What is the pass key? The pass key is 31.") == most
    assert document.roles.count(ANSWER) == most * len(" 31.")
    with pytest.raises(ValueError, match=f"1 to {most} questions, not {most + 1}"):
        writer.document(600, 31, 0.2, questions=most + 1)


def test_what_does_not_fit_is_refused(writer):
    assert len(writer.document(writer.shortest, 49999, 0.5).ids) == writer.shortest
    with pytest.raises(ValueError, match=f"at least {writer.shortest} tokens, not {writer.shortest - 1}"):
        writer.document(writer.shortest - 1, 49999, 0.5)
    with pytest.raises(ValueError, match="depth must be from 0 to 1"):
        writer.document(400, 7, 1.5)


def test_keys_of_evaluation_are_never_drawn_for_training():
    rng = np.random.default_rng(0)
    seen, held_out = ({draw_key(rng, kept) for _ in range(2000)} for kept in (False, True))
    assert not seen & held_out
    assert min(seen | held_out) >= 1 and max(seen | held_out) < 50_000
