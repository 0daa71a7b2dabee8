"""What an encoder over pretrained trunks reads, in words: the sentences, and what an encoder that was trained says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.parts import VARIABLE
from data.strict import SettingsError
from encoders import load_encoder
from encoders.description import Found, describe_classes, describe_phrases, describe_things
from encoders.trunk_encoder import TrunkEncoder
from tests.tiny_encoder import CONFIG, encoder_of_red_dogs

CAT = Found("cat", "red", (0.12, 0.4, 0.35, 0.7))
DOG = Found("dog", "", (0.6, 0.4, 0.9, 0.8))


@pytest.mark.parametrize(
    ("found", "background", "expected"),
    [
        ([CAT, DOG], "", "2 things: red cat on the left [12, 40, 35, 70]; dog on the right [60, 40, 90, 80]"),
        ([CAT], "in a meadow", "1 thing: small red cat on the left [12, 40, 35, 70]; in a meadow"),
        ([Found("ship", "", (0.1, 0.1, 0.9, 0.9))], "", "1 thing: large ship in the middle [10, 10, 90, 90]"),
        ([DOG, DOG, CAT, DOG], "", "4 things: 3 x dog; red cat on the left [12, 40, 35, 70]"),
        (
            [Found("kite", "blue", (0.7, 0.1, 0.9, 0.3))],
            "",
            "1 thing: small blue kite at the top right [70, 10, 90, 30]",
        ),
        ([], "", "nothing known"),
    ],
)
def test_images_of_things(found, background, expected):
    assert describe_things(found, background) == expected


def test_chinese():
    assert describe_things([DOG._replace(name="狗")], language="zh") == "1个：狗 在右边 [60, 40, 90, 80]"
    assert (
        describe_classes([("jay", 0.9)], "zh") == "照片，肯定是jay 90%"
        and describe_phrases([""] * 8, "zh") == "不认识的东西"
    )


def test_photographs_name_what_is_likely():
    classes = [("jay", 0.571), ("robin", 0.2), ("crow", 0.06), ("owl", 0.02), ("hen", 0.01)]
    assert describe_classes(classes) == "photograph, probably of jay 57%, robin 20%, crow 6%"
    assert describe_classes([("jay", 0.03), ("robin", 0.03)]) == "photograph, unsure: jay 3%"


@pytest.mark.parametrize(
    ("phrases", "expected"),
    [
        (["dog", "barks", "", "", "", "", "twice", "loud"], "dog barks; twice; loud"),
        (["cat", "spins", "bee", "rises", "", "", "", "on a beach"], "cat spins; bee rises; on a beach"),
        ([""] * 8, "nothing known"),
    ],
)
def test_media_by_the_phrases_of_their_captions(phrases, expected):
    assert describe_phrases(phrases) == expected


@pytest.fixture
def encoder(tmp_path, monkeypatch) -> TrunkEncoder:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return encoder_of_red_dogs(tmp_path / "cache")


def test_what_is_seen_is_named_in_both_languages(encoder):
    pixels = encoder.preprocess("image", np.zeros((40, 40, 3), np.uint8))[None]
    english, chinese = (encoder.describe("image", pixels, language)[0] for language in ("en", "zh"))
    assert english.removesuffix("; on a beach") == "3 things: 3 x red dog"
    assert chinese.removesuffix("; 在沙滩上") == "3个：3 x 红色的 狗"
    assert ("; " in english) == ("; " in chinese)  # the background is the same in both
    torch.nn.init.constant_(encoder.reader.presence.bias, -4.0)
    assert encoder.describe("image", pixels) == ["nothing known"]
    torch.nn.init.constant_(encoder.photograph.bias, 4.0)
    assert encoder.describe("image", pixels)[0].startswith("photograph, ")


def test_a_colour_is_named_where_it_is_likely(encoder):
    encoder.reader.colour.bias.data = torch.tensor([0.0, 0.0])
    pixels = encoder.preprocess("image", np.zeros((40, 40, 3), np.uint8))[None]
    assert encoder.describe("image", pixels)[0].startswith("3 things: 3 x red dog")  # half is enough
    encoder.reader.colour.bias.data = torch.tensor([float("-inf"), 0.0])
    assert encoder.describe("image", pixels)[0].startswith("3 things: 3 x blue dog")


def test_a_sound_is_named_by_the_phrases_that_are_said(encoder):
    sound = encoder.preprocess("audio", np.zeros(9000, np.float32), 16000.0)
    tower = encoder.towers["audio"]
    torch.nn.init.zeros_(tower.reader.presence.weight)
    torch.nn.init.constant_(tower.reader.presence.bias, 4.0)
    assert encoder.describe("audio", [sound]) == ["bell rings; bell bell; bell bell; twice; bell"]
    torch.nn.init.constant_(tower.reader.presence.bias, 2.0)  # a guess is not enough
    assert encoder.describe("audio", [sound, sound]) == ["nothing known"] * 2


def test_words_are_saved_with_the_encoder(encoder, tmp_path):
    pixels = encoder.preprocess("image", np.zeros((40, 40, 3), np.uint8))[None]
    encoder.save_pretrained(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    assert again.describe("image", pixels) == encoder.describe("image", pixels)
    assert torch.allclose(again.class_names, encoder.class_names, atol=1e-3)
    vectors = tmp_path / "saved" / "vocabulary.safetensors"
    kept = vectors.read_bytes()
    vectors.unlink()  # names without vectors would all be the first one
    with pytest.raises(ValueError, match=r"there is no checkpoint .*vocabulary.safetensors"):
        load_encoder(tmp_path / "saved")
    vectors.write_bytes(kept)
    (tmp_path / "saved" / "vocabulary.json").write_text('{"image": {"thinks": []}}')
    with pytest.raises(SettingsError, match=r"vocabulary.json: image: .*unknown key 'thinks'"):
        load_encoder(tmp_path / "saved")


def test_an_encoder_without_words_says_nothing(encoder):
    bare = TrunkEncoder.from_parts(replace(CONFIG, audio=None)).eval()
    pixels = bare.preprocess("image", np.zeros((40, 40, 3), np.uint8))[None]
    assert bare.describe("image", pixels) == [""]
    with pytest.raises(ValueError, match="reads image, not audio"):
        bare.describe("audio", [pixels[0]])
