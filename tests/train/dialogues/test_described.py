"""What media of the world show, in the words that the encoder's own expert would say."""

import pytest

from data.things.catalogue import catalogue
from data.things.dialogues import MediaPart, Photograph, Spoken, Unknown, dialogue
from data.things.scenes import Placed, Scene
from train.dialogues.described import described, reading
from train.dialogues.things_records import things_conversations

BEACH = Scene((Placed("cat", "red", 0.75, 0.5, 0.4), Placed("dog", None, 0.25, 0.5, 0.4)), "beside", "", "", "beach", 7)


def test_a_scene_is_read_from_left_to_right_in_the_language_of_the_message():
    english, chinese = (reading(MediaPart("image", BEACH), language) for language in ("en", "zh"))
    first, second, place = english.split("; ")
    assert first.startswith("2 things: dog on the left [") and second.startswith("red cat on the right [")
    assert place == "on a beach"
    assert chinese.startswith(f"2个：{catalogue()['dog'].names['zh'][0]} 在左边 [") and chinese.endswith("; 在沙滩上")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Photograph((("jay", 0.8), ("crow", 0.04)), 1), "photograph, surely of jay 80%"),
        (Unknown(1, 2), "nothing known"),
        (Spoken("Draw a cat.", 3), "nothing known"),
    ],
)
def test_what_is_no_scene(content, expected):
    modality = "audio" if isinstance(content, Spoken) else "image"
    words = described({"type": modality, "part": MediaPart(modality, content), "language": "en", "number": 3})
    assert words[0] == f"[{modality} 3: {expected}]"
    assert words[1:] == (["[speech: Draw a cat.]"] if isinstance(content, Spoken) else [])


def test_texts_and_media_of_others_have_no_words():
    assert described({"type": "text", "text": "a cat"}) == []
    assert described({"type": "image", "part": "a file"}) == []


def test_words_stand_in_front_of_the_users_text():
    (found,) = things_conversations(5, 1, ["ask"], ("image",), described=True)
    (plain,) = things_conversations(5, 1, ["ask"], ("image",))
    own = next(part for part in found.messages[0]["content"] if "[image 1: " in part.get("text", ""))
    assert own["text"].startswith("[image 1: ")
    texts = [part["text"] for part in plain.messages[0]["content"] if part["type"] == "text"]
    assert texts[0] in "\n".join(part.get("text", "") for part in found.messages[0]["content"])
    assert found.messages[1] == plain.messages[1]


def test_something_spoken_is_answered_as_if_it_were_written():
    for index in range(20):
        drawn = dialogue(4, index, "spoken")
        (part,) = drawn.turns[0].parts
        assert isinstance(part, MediaPart) and isinstance(part.content, Spoken) and part.content.text
        assert drawn.turns[-1].role == "assistant"
