"""Every arrow of the picture at once: each medium in, each medium out, through the tiny model's real components."""

import numpy as np
import pytest

from tests.tiny_model import medium, saying

INPUT_MODALITIES, OUTPUT_MODALITIES = ("image", "video", "audio", "points"), ("image", "video", "audio")
FORMS = {
    "image": ((64, 64, 3), np.uint8, None),
    "video": ((8, 64, 64, 3), np.uint8, 4.0),
    "audio": ((32_000,), np.float32, 16_000.0),
}


def check(model, made, modality):
    shape, kind, rate = FORMS[modality]
    assert (made.modality, made.array.shape, made.array.dtype, made.rate) == (modality, shape, np.dtype(kind), rate)
    assert made.signal_tokens == model.table.counts[modality]
    assert made.seconds > 0
    assert np.isfinite(made.array).all() and np.abs(made.array.astype(float)).max() <= (
        1.0 if rate == 16_000.0 else 255
    )


@pytest.mark.parametrize("target", ["text", *OUTPUT_MODALITIES])
@pytest.mark.parametrize("source", ["text", *INPUT_MODALITIES])
def test_every_pair(tiny_model, source, target):
    shown = [] if source == "text" else [medium(source)]
    messages = [{"role": "user", "content": [*shown, {"type": "text", "text": "Make something of this."}]}]
    wanted = () if target == "text" else (target,)
    with saying(tiny_model, [messages], [wanted]):
        reply = tiny_model.chat(messages, steps=1)
    assert reply.text == "Here."
    assert [made.modality for made in reply.media] == list(wanted)
    assert reply.repaired == 0
    for made in reply.media:
        check(tiny_model, made, target)


def test_everything_in_everything_out_over_two_turns(tiny_model):
    first = [{"role": "user", "content": [*map(medium, INPUT_MODALITIES), {"type": "text", "text": "Answer in kind."}]}]
    with saying(tiny_model, [first], [OUTPUT_MODALITIES]):
        reply = tiny_model.chat(first, steps=1)
    assert [made.modality for made in reply.media] == list(OUTPUT_MODALITIES)
    for made in reply.media:
        check(tiny_model, made, made.modality)
    second = [*first, reply.as_message(), {"role": "user", "content": "Once more, the sound only."}]
    _, media, _ = tiny_model.prepare(second)
    assert len(media) == len(INPUT_MODALITIES) + len(OUTPUT_MODALITIES)
    with saying(tiny_model, [second], [("audio",)]):
        again = tiny_model.chat(second, steps=1)
    assert [made.modality for made in again.media] == ["audio"]
    check(tiny_model, again.media[0], "audio")
