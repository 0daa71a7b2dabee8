"""Prompts of published weights: what the loss sees, media and signals in their places. Ids are held in parity."""

import pytest

from nextgpt_lite.released_weights.prompts import IGNORED, legacy, vicuna
from nextgpt_lite.signal_tokens import add_to_tokenizer
from train.foundations.language.language_model import train_tokenizer

COUNTS = {"image": 2, "video": 3, "audio": 2}


@pytest.fixture(scope="module")
def tokenizer_and_table():
    tokenizer = train_tokenizer(vocabulary=400, texts=20)
    tokenizer.bos_token = tokenizer.eos_token
    return tokenizer, add_to_tokenizer(tokenizer, COUNTS)


@pytest.mark.parametrize("style", [vicuna, legacy])
def test_the_loss_sees_answers_and_nothing_else(style, tokenizer_and_table):
    tokenizer, table = tokenizer_and_table
    talk = [("human", "a red bell"), ("gpt", "here <audio>"), ("human", "and now?"), ("gpt", "it is a dog")]
    ids, labels = style(talk, tokenizer, table)
    assert len(ids) == len(labels)
    assert all(label in (IGNORED, i) for i, label in zip(ids, labels, strict=True))
    seen = tokenizer.decode([label for label in labels if label != IGNORED])
    unseen = tokenizer.decode([i for i, label in zip(ids, labels, strict=True) if label == IGNORED])
    assert "here" in seen and "it is a dog" in seen and "bell" not in seen
    assert "a red bell" in unseen and "and now?" in unseen and "dog" not in unseen
    span = list(table.spans["audio"])
    at = ids.index(span[0])
    assert ids[at : at + 2] == span == labels[at : at + 2]


def test_media_of_a_human_are_placeholders(tokenizer_and_table):
    tokenizer, table = tokenizer_and_table
    ids, labels = vicuna([("human", "<image>\nlike <video>?"), ("gpt", "yes")], tokenizer, table)
    places = [i for i in ids if i in table.placeholders.values()]
    assert places == [table.placeholders["image"], table.placeholders["video"]]
    assert all(labels[ids.index(place)] == IGNORED for place in places)


def test_speakers_take_turns(tokenizer_and_table):
    with pytest.raises(ValueError, match="turn 2 is by 'human': expected human and gpt in turns"):
        vicuna([("human", "hi"), ("human", "hi")], *tokenizer_and_table)
