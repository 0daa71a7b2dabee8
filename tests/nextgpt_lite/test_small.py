"""The embedded small model, where its pretrained parts are: a stranger's words bring what they ask for."""

import numpy as np
import pytest

from data.boxes import overlap, parse_boxes
from data.things.rendering import boxes, render_image
from data.things.scenes import compose
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import WEIGHTS, missing_parts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_parts(WEIGHTS / "small")), reason="nextgpt-lite models --fetch"),
]


@pytest.fixture(scope="module")
def small():
    return AnyToAny.from_pretrained("small")


def said(model, text: str):
    return model.chat([{"role": "user", "content": text}])


def test_each_medium_comes_when_it_is_asked_for(small):
    reply = said(small, "Would you sketch a purple butterfly on the right for me?")
    [image] = reply.media
    assert image.modality == "image" and image.array.shape == (128, 128, 3) and "butterfly" in reply.text
    assert image.array[:, 64:].std() > 1.5 * image.array[:, :64].std(), "it is on the right"
    [video] = said(small, "animate a fish swimming to the left, please").media
    assert video.modality == "video" and video.array.shape == (12, 128, 128, 3)
    assert np.abs(np.diff(video.array.astype(int), axis=0)).max() > 30, "it moves"
    [sound] = said(small, "let me hear a flute").media
    assert sound.modality == "audio" and 0.01 < np.abs(sound.array).max() <= 1.0


def test_talk_brings_no_media(small):
    for text in ("Thanks!", "My sister plays the cello."):
        assert not said(small, text).media


def test_images_are_read(small):
    scene = compose(np.random.default_rng(5), [("cat", "red"), ("bicycle", "blue")], "beside")
    shown = {"type": "image", "array": render_image(scene)}
    question = {"type": "text", "text": "Could you tell me what you see here?"}
    reply = small.chat([{"role": "user", "content": [shown, question]}])
    assert not reply.media and ("cat" in reply.text or "bicycle" in reply.text)
    asked = {"type": "text", "text": "Where is the bicycle? Give me its box."}
    [box] = parse_boxes(small.chat([{"role": "user", "content": [shown, asked]}]).text)
    right = tuple(round(100 * corner) for corner in boxes(scene)[1])
    assert overlap(box, right) > 0.5
