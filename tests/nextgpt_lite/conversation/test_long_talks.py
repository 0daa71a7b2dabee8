"""The embedded model in talks that are longer than those it was trained on."""

import pytest

from nextgpt_lite import AnyToAny

SAID = (
    ("Draw a red bell.", "Here is a red bell."),
    ("Hello", "Hello! What shall we look at?"),
    ("What can you do?", "I can see, hear, draw, film and play things of my toy world."),
    ("Draw a blue car on a meadow.", "Here is a blue car, on a meadow."),
    ("Thank you", "You are welcome!"),
    ("Make a video of a green frog moving left.", "Watch: a green frog, moving left."),
)


@pytest.fixture(scope="module")
def nano():
    return AnyToAny.from_pretrained("nano", device="cpu")


@pytest.mark.parametrize("turns", [0, 20, 40, 50, 200])
def test_replies_do_not_break(nano, turns):
    talk = [
        {"role": role, "content": content}
        for number in range(turns)
        for role, content in zip(("user", "assistant"), SAID[number % len(SAID)], strict=True)
    ]
    reply = nano.chat([*talk, {"role": "user", "content": "Hello"}], allowed_media=[])
    assert reply.text == "Hello! What shall we look at?"
    assert (reply.dropped_turns > 0) == (turns >= 20)


def test_earlier_turns_are_read_as_far_as_rows_of_the_training_went(nano):
    assert nano.history_length == nano.core.config.trained_length == 352 < nano.prompt_length
    long = [{"role": "user", "content": "word " * 200}]
    ids, _, dropped = nano.encode_messages([{"role": "user", "content": "hi"}, *long])
    assert len(ids) > nano.history_length and dropped == 1
