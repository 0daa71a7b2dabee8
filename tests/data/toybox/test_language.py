"""Attributes survive the way into words and back, in both languages, canonical and paraphrased."""

import numpy as np
import pytest

from data.toybox.language.grammar import LANGUAGES, TAG_WORDS, noun, parse_reply, parse_tags, phrase, tag_caption, word
from data.toybox.world import MODALITIES, THINGS, sample, visible


def test_english_phrase_reads_as_the_design_says():
    attributes = {"thing": "bell", "colour": "red", "count": 1, "size": "small", "place": "top left"}
    assert phrase(attributes | {"background": "snow"}) == "a small red bell at the top left, in the snow"
    assert phrase({"thing": "rain", "count": 2, "colour": "orange"}) == "two orange rain clouds"
    assert phrase({"thing": "clock", "colour": "orange"}) == "an orange clock"
    heard = {"thing": "bell", "pitch": "low", "pace": "fast", "repeats": 3}
    assert phrase(heard, "audio") == "a low fast bell, three times"
    assert phrase({"thing": "rain", "pitch": "low"}, "audio") == "low rain"


def test_chinese_phrase_uses_measure_words():
    attributes = {
        "thing": "boat",
        "colour": "red",
        "count": 2,
        "size": "small",
        "place": "centre",
        "background": "snow",
    }
    assert phrase(attributes, language="zh") == "两艘红色的小船，在中间，背景是雪地"
    assert phrase({"thing": "dog", "pitch": "low", "repeats": 2}, "audio", "zh") == "狗的声音，音调低，共两次"


def test_phrase_names_nothing_but_what_is_given():
    for index in range(200):
        scene = sample(11, index)
        for modality in MODALITIES:
            shown = visible(scene, modality)
            rng = np.random.default_rng(index)
            given = {name: value for name, value in shown.items() if name == "thing" or rng.random() < 0.5}
            for language in LANGUAGES:
                parsed = parse_reply(phrase(given, modality, language, rng))
                parsed.pop("count", None)
                given_without_count = {name: value for name, value in given.items() if name != "count"}
                assert parsed == given_without_count, (given, language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("modality", MODALITIES)
def test_every_phrase_is_parsed_back(language, modality):
    for index in range(300):
        shown = visible(sample(5, index), modality)
        for rng in (None, np.random.default_rng(index)):
            parsed = parse_reply(phrase(shown, modality, language, rng))
            assert shown.items() <= parsed.items()


def test_paraphrases_differ_and_the_canonical_form_does_not():
    shown = visible(sample(5, 0), "image")
    rng = np.random.default_rng(0)
    assert len({phrase(shown, "image", "en", rng) for _ in range(40)}) > 3
    assert len({phrase(shown, "image", "en") for _ in range(5)}) == 1


def test_tag_captions_are_bijective_and_ordered():
    for index in range(300):
        for modality in MODALITIES:
            shown = visible(sample(3, index), modality)
            caption = tag_caption(shown)
            words = caption.split()
            assert set(words) <= {*TAG_WORDS, "-"}
            assert len([word for word in words if word != "-"]) == len(shown)
            assert parse_tags(caption) == shown
            assert tag_caption(dict(reversed(shown.items()))) == caption
    assert len(set(TAG_WORDS)) == len(TAG_WORDS)
    assert tag_caption({"thing": "bell", "pitch": "low", "repeats": 3}) == "bell low-pitch three-times"
    assert tag_caption({"thing": "bell", "background": "snow"}) == "bell - - - - snow"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="giraffe"):
        parse_tags("giraffe red")
    with pytest.raises(ValueError, match="twice"):
        parse_tags("bell dog")
    with pytest.raises(ValueError, match="black"):
        tag_caption({"thing": "bell", "colour": "black"})
    with pytest.raises(ValueError, match="taste"):
        phrase({"thing": "bell", "taste": "sour"})
    with pytest.raises(ValueError, match="fr"):
        word("colour", "red", "fr")


@pytest.mark.parametrize(
    ("reply", "attributes"),
    [
        ("I don't know this. I only know my toy world.", {"unknown": True}),
        ("这个我不认识，我只认识我的玩具世界。", {"unknown": True}),
        ("The bell is on the left.", {"thing": "bell", "place": "left"}),
        ("The bell is moving left.", {"thing": "bell", "motion": "left"}),
        ("The drum sounds three times.", {"thing": "drum", "repeats": 3}),
        ("There are three drums.", {"thing": "drum", "count": 3}),
        ("这是一列火车。", {"thing": "train", "count": 1}),
        ("火正在变大。", {"thing": "fire", "motion": "grow"}),
        ("第一个是红色的。", {"answer": "first", "colour": "red"}),
        ("The first one is a bell, the second one is a dog.",
         {"answer": "first", "thing": "bell", "things": ("bell", "dog"), "count": 1}),
        ("No, this is a cat.", {"answer": "no", "thing": "cat", "count": 1}),
        ("Hello! What shall we look at?", {}),
    ],
)  # fmt: skip
def test_parse_reply(reply, attributes):
    assert parse_reply(reply) == attributes


def test_nouns_are_distinct():
    for language in LANGUAGES:
        for modality in ("image", "audio"):
            assert len({noun(thing, modality, language) for thing in THINGS}) == len(THINGS)
