"""Placeholders and signal tokens: where they stand, how broken spans are mended, which tokenizers are refused."""

import pytest
import torch

from nextgpt_lite.signal_tokens import (
    DEFAULT_INPUTS,
    OWN,
    SignalTable,
    add_to_tokenizer,
    check_tokenizer,
)
from train.foundations.language.language_model import train_tokenizer

COUNTS = {"image": 2, "video": 3, "audio": 2}
TABLE = SignalTable(100, COUNTS)
IMAGE, VIDEO, AUDIO = (list(TABLE.spans[m]) for m in COUNTS)


@pytest.fixture(scope="module")
def base():
    return lambda: train_tokenizer(vocabulary=300, texts=5)


def test_ids_follow_the_names():
    assert [TABLE.names[i - 100] for i in VIDEO] == ["<video_00>", "<video_01>", "<video_02>"]
    assert TABLE.placeholders == {m: 100 + i for i, m in enumerate(DEFAULT_INPUTS)}
    assert TABLE.names[TABLE.first_signal - 100 - 1] == OWN
    assert TABLE.first_signal == IMAGE[0]


def test_masks():
    ids = torch.tensor([[1, TABLE.placeholders["points"], TABLE.first + 4, *VIDEO, *IMAGE]])
    assert TABLE.placeholder_mask(ids).tolist() == [[False, True, *[False] * 6]]
    assert TABLE.signal_mask(ids, "video").nonzero()[:, 1].tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("ids", "whole", "modalities", "repaired"),
    [
        ([5, *IMAGE, 6, *VIDEO], [5, *IMAGE, 6, *VIDEO], ["image", "video"], 0),
        ([5, 6], [5, 6], [], 0),
        ([5, IMAGE[0]], [5, *IMAGE], ["image"], 1),  # cut
        ([VIDEO[0], VIDEO[2], 7], [*VIDEO, 7], ["video"], 3),  # one dropped, two put in
        ([VIDEO[0], 7, VIDEO[1], VIDEO[2]], [*VIDEO, 7], ["video"], 4),  # a word in between
        ([IMAGE[0], AUDIO[1], 7], [*IMAGE, 7], ["image"], 2),  # as many as expected, but wrong
        ([AUDIO[1], VIDEO[2], 7], [7], [], 2),  # no beginning
        ([*IMAGE, *IMAGE], [*IMAGE, *IMAGE], ["image", "image"], 0),
        ([IMAGE[0], IMAGE[0], IMAGE[1]], [*IMAGE, *IMAGE], ["image", "image"], 1),
        ([*IMAGE, IMAGE[1]], IMAGE, ["image"], 1),  # said twice
    ],
)
def test_spans_are_made_whole_and_mending_is_counted(ids, whole, modalities, repaired):
    assert TABLE.complete(ids) == (whole, modalities, repaired)


def test_unknown_modalities_are_refused():
    with pytest.raises(ValueError, match="unknown input modality 'smell': expected one of image"):
        TABLE.placeholders_of("smell")


def test_input_media_are_a_tables_own():
    table = SignalTable(100, COUNTS | {"depth": 2}, inputs=("image", "depth"))
    assert table.names[:3] == ["<image>", "<depth>", OWN]
    assert table.placeholders == {"image": 100, "depth": 101}
    assert table.spans["depth"] == range(110, 112)


def test_tokens_are_added_behind_the_vocabulary_and_are_single(base):
    tokenizer = base()
    size = len(tokenizer)
    table = add_to_tokenizer(tokenizer, COUNTS)
    check_tokenizer(tokenizer, table)
    assert table.first == size
    assert tokenizer("<image><own><video_01>")["input_ids"] == [size, size + 4, table.spans["video"][1]]
    assert tokenizer.decode([size, table.first_signal], skip_special_tokens=True) == ""


def test_tokens_are_added_only_once(base):
    tokenizer = base()
    add_to_tokenizer(tokenizer, COUNTS)
    with pytest.raises(ValueError, match="already has '<image>'"):
        add_to_tokenizer(tokenizer, COUNTS)


def test_another_tokenizer_is_refused_by_row(base):
    tokenizer = base()
    tokenizer.add_tokens(["stranger"])
    table = SignalTable(len(tokenizer) - 1, COUNTS)
    add_to_tokenizer(tokenizer, COUNTS)
    with pytest.raises(ValueError, match="has '<image>' at row"):
        check_tokenizer(tokenizer, table)


def spaced(span, gap=9):
    return [token for signal in span for token in (signal, gap)][:-1]


def test_spans_with_something_between_their_signals_are_read():
    ids = [5, *spaced(VIDEO), 6, *VIDEO, *spaced(IMAGE)]
    assert TABLE.complete(ids) == (ids, ["video", "video", "image"], 0)
    assert TABLE.words(ids) == [[5], [6], [], []]
    rows, columns = TABLE.span_places(torch.tensor([[0] * len(ids), ids]), "video")
    assert rows.tolist() == [1, 1]
    assert [places.tolist() for places in columns] == [[1, 2, 3, 4, 5], [7, 8, 9]]


def test_a_spaced_span_that_is_not_whole_is_mended():
    assert TABLE.complete([VIDEO[0], 9, VIDEO[1], 9]) == ([*VIDEO, 9, 9], ["video"], 3)


def test_places_of_a_broken_span_are_refused():
    with pytest.raises(ValueError, match="row 0: the video span at position 1 lacks some of its 3"):
        TABLE.span_places(torch.tensor([[5, VIDEO[0], VIDEO[2], 6]]), "video")


def test_a_modality_may_have_placeholders_of_its_own_number():
    table = SignalTable(100, COUNTS, {"image": 3, "video": 3, "audio": 2, "points": 1})
    assert table.placeholders_of("image") == "<image>" * 3
    assert table.placeholders_of("points") == "<points>"
