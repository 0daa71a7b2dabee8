"""A stream is read without end, knows where it was after each step, and goes on there."""

import itertools
import json

import pytest

from tests.train.engine.small_tasks import Lines, ResumableLines
from train.engine.sampling import STATES_KEPT, ResumableStream


@pytest.fixture
def files(tmp_path):
    """Two files, of five records and of two."""
    for name, numbers in (("a", range(5)), ("b", range(5, 7))):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(number) for number in numbers))
    return [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]


def test_it_begins_again_when_it_ends(files):
    assert list(itertools.islice(ResumableStream(Lines(files), 2), 16)) == [*range(7), *range(7), 0, 1]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
def test_it_goes_on_after_the_step_that_was_saved(files, tmp_path, steps):
    stream = ResumableStream(ResumableLines(files), 2)
    reader = iter(stream)
    for _ in range(2 * steps + 3):  # the engine reads ahead
        next(reader)
    stream.save(tmp_path / "state.json", steps)
    again = ResumableStream(ResumableLines(files), 2)
    again.load(tmp_path / "state.json")
    expected = [number % 7 for number in range(2 * steps, 2 * steps + 20)]
    assert list(itertools.islice(again, 20)) == expected
    again.save(tmp_path / "later.json", steps + 9)
    assert json.loads((tmp_path / "later.json").read_text())["seen"] == 2 * (steps + 9)


def test_old_states_are_forgotten(files):
    stream = ResumableStream(ResumableLines(files), 1)
    list(itertools.islice(stream, 30))
    assert list(stream.states) == list(range(31 - STATES_KEPT, 31))


def test_a_stream_without_state_says_so(files):
    assert not ResumableStream(Lines(files), 1).keeps_state
    assert ResumableStream(ResumableLines(files), 1).keeps_state


def test_an_empty_stream_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no sample"):
        next(iter(ResumableStream(Lines([tmp_path / "a.jsonl"]), 1)))
