"""Passkey documents beside texts: drawn by step alone, weighted as they should be, positions with and without gaps."""

import pytest
import torch

from data.passkey import PasskeyWriter
from train.passkeys import SHORT, PasskeyRows, RandomRows, SpreadPieces, WithPasskeys, joined


@pytest.fixture(scope="module")
def writer():
    return PasskeyWriter(lambda text: [ord(character) for character in text])


def test_a_step_depends_on_its_index_alone(writer):
    first, again = (PasskeyRows(writer, seed=3, tokens=1500, longest=500) for _ in range(2))
    again.batch(0)
    for name, value in first.batch(7).items():
        assert torch.equal(value, again.batch(7)[name])
        assert value.shape == first.batch(7)["passkey_ids"].shape
    assert not torch.equal(first.batch(7)["passkey_ids"][0, :300], first.batch(8)["passkey_ids"][0, :300])


def test_a_step_has_about_its_tokens_and_lengths_within_bounds(writer):
    rows = PasskeyRows(writer, seed=3, tokens=1500, longest=500)
    for step in range(30):
        count, length = rows.batch(step)["passkey_ids"].shape
        assert writer.shortest <= length <= 500 and count == 1500 // length


def test_the_first_mention_counts_nothing_and_the_answer_counts_one(writer):
    batch = PasskeyRows(writer, seed=3, tokens=400, longest=300, plain_weight=0.1).batch(0)
    ids, weights = batch["passkey_ids"][0], batch["passkey_weights"][0]
    first = "".join(map(chr, ids[weights == 0].tolist()))
    counted = "".join(map(chr, ids[weights == 1].tolist()))
    assert counted == first + (first + ".") * counted.count(".")
    torch.testing.assert_close(weights.unique(), torch.tensor([0.0, 0.1, 1.0]))


def test_some_documents_ask_once_and_some_ask_often(writer):
    rows = PasskeyRows(writer, seed=3, tokens=1500, longest=500)
    asked = [
        "".join(map(chr, ids.tolist())).count("What is the pass key?")
        for step in range(20)
        for ids in rows.batch(step)["passkey_ids"]
    ]
    assert asked.count(1) > len(asked) / 3 and max(asked) > 3


def test_gaps_spread_a_document_over_all_positions(writer):
    rows = PasskeyRows(writer, seed=3, tokens=3000, longest=300, span=5000)
    spread = [row for step in range(20) for row in rows.batch(step)["passkey_positions"]]
    assert 4000 < max(int(row[-1]) for row in spread) < 5000
    for row in spread:
        assert bool((row.diff() >= 1).all()) and int((row.diff() > 1).sum()) <= 1
    plain = PasskeyRows(writer, seed=3, tokens=400, longest=300).batch(0)["passkey_positions"][0]
    assert torch.equal(plain, torch.arange(len(plain)))


def test_a_share_of_the_steps_has_short_documents(writer):
    def short(share):
        rows = PasskeyRows(writer, seed=3, tokens=900, longest=600, short_share=share)
        lengths = [rows.batch(step)["passkey_ids"].shape[1] for step in range(60)]
        return sum(length <= max(SHORT, writer.shortest) for length in lengths) / len(lengths)

    long = PasskeyRows(writer, seed=3, tokens=900, longest=600, shortest=300)
    assert all(300 <= long.batch(step)["passkey_ids"].shape[1] <= 600 for step in range(20))
    with pytest.raises(ValueError, match="expected 700"):
        PasskeyRows(writer, seed=3, tokens=900, longest=600, shortest=700)
    assert short(1.0) == 1.0 and 0.4 < short(0.5) < 0.75 and short(0.0) < 0.3


@pytest.mark.parametrize(("longest", "span", "said"), [(20, None, "too short"), (400, 300, "do not fit into 300")])
def test_bounds_that_hold_no_document_are_refused(writer, longest, span, said):
    with pytest.raises(ValueError, match=said):
        PasskeyRows(writer, seed=0, tokens=400, longest=longest, span=span)


def test_texts_are_cut_at_random_and_joined_with_documents(writer):
    ids = torch.arange(100)
    texts = RandomRows(ids, length=10, rows=3, count=5, seed=1)
    assert torch.equal(texts[2], RandomRows(ids, 10, 3, 5, 1)[2]) and len(texts) == 5
    assert bool((texts[2].diff() == 1).all()) and texts[2].shape == (3, 10)
    items = [WithPasskeys(texts, PasskeyRows(writer, 3, 800, 400))[i] for i in (0, 1)]
    batch = joined(items)
    assert batch["input_ids"].shape == (6, 10)
    longest = max(item["passkey_ids"].shape[1] for item in items)
    assert batch["passkey_ids"].shape[1] == batch["passkey_weights"].shape[1] == longest
    assert joined([WithPasskeys(texts, None)[0]]).keys() == {"input_ids"}
    with pytest.raises(ValueError, match="hold 100 tokens, too few for a row of 101"):
        RandomRows(ids, 101, 1, 1, 0)


def test_a_spread_piece_is_text_with_a_gap_in_its_positions():
    rows = torch.arange(600).view(2, 300)
    pieces = SpreadPieces(seed=3, length=100, span=5000)
    reached = []
    for index in range(30):
        piece = pieces.batch(index, rows)
        ids, positions = piece["spread_ids"], piece["spread_positions"]
        assert ids.shape == positions.shape == (2, 100) and bool((ids.diff() == 1).all())
        assert torch.equal(ids[1] - ids[0], torch.full((100,), 300))
        assert bool((positions.diff() >= 1).all()) and int((positions.diff() > 1).sum()) <= 2
        reached.append(int(positions.max()))
    assert 3000 < max(reached) < 5000
    items = [WithPasskeys(rows[None], None, pieces)[0] for _ in range(2)]
    assert joined(items)["spread_positions"].shape == (4, 100)
