"""Dialogues about things: deterministic, true to what is shown, and captions hold what was asked for and no more."""

import re
from collections import Counter

import numpy as np
import pytest

from data.boxes import parse_boxes
from data.things import COLOURS, Scene, boxes, catalogue
from data.things.dialogues import KINDS, Dialogue, Photograph, composing, dialogue, style
from data.things.dialogues.changes import CHANGES
from data.things.dialogues.speaker import Speaker
from data.things.dialogues.wording import HELD_OUT, banks
from tests.data.things.dialogues.caption_parsing import Read, read_caption

#: Stands for the classes of an image classifier, in its order.
CLASSES = tuple(f"class {number}" for number in range(1000))
COUNT = 500
CHINESE_COLOURS = dict(zip(COLOURS, "红橙黄绿蓝紫粉棕黑白灰", strict=True))


@pytest.fixture(scope="module")
def drawn() -> list[Dialogue]:
    """Dialogues without typos, so that what users say can be read back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "TYPOS", 0)
        return [dialogue(3, index, classes=CLASSES) for index in range(COUNT)]


def of_kind(kind: str, count: int = 40, language: str = "en") -> list[Dialogue]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "TYPOS", 0)
        return [dialogue(4, index, kind, language, classes=CLASSES) for index in range(count)]


def test_a_dialogue_depends_on_its_arguments_alone(drawn):
    assert [dialogue(3, index, classes=CLASSES).kind for index in range(20)] == [each.kind for each in drawn[:20]]
    assert dialogue(3, 5) == dialogue(3, 5)
    assert dialogue(3, 5) != dialogue(4, 5) and dialogue(3, 5) != dialogue(3, 6)
    assert dialogue(3, 5, language="zh").turns != dialogue(3, 5, language="en").turns


def test_every_kind_comes_and_a_quarter_is_chinese(drawn):
    kinds, languages = (Counter(getattr(each, name) for each in drawn) for name in ("kind", "language"))
    assert set(kinds) == set(KINDS)
    assert 0.2 < languages["zh"] / COUNT < 0.3


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
def test_turns_alternate_and_have_no_slot_left_open(kind, language):
    for each in of_kind(kind, 12, language):
        assert [turn.role for turn in each.turns] == ["user", "assistant"] * (len(each.turns) // 2)
        for turn in each.turns:
            said = turn.text or turn.media[0].content.text  # written, or spoken
            assert said.strip() and not re.search(r"[{}|~]|  ", said), said
            assert all(bool(part.caption) == (turn.role == "assistant") for part in turn.media)
        assert all(str(word).lower() in each.turns[-1].text.lower() for word in each.expected["answer"]), each


def nouns_of(scene: Scene) -> tuple[tuple[str, str | None], ...]:
    nouns = tuple((placed.thing, placed.colour) for placed in scene.placed)
    return nouns[:1] if scene.layout == "several" else nouns


def test_captions_say_what_their_scenes_hold(drawn):
    found = [part for each in drawn for turn in each.turns for part in turn.media if part.caption]
    images = [part for part in found if part.modality == "image"]
    assert len(images) > 100 and {part.modality for part in found} == {"image", "video", "audio"}
    for part in images:
        scene = part.content
        places = {"beside": ("left", "right"), "above": ("top", "bottom")}.get(scene.layout, (scene.position,))
        said = Read(nouns_of(scene), scene.count, scene.size, tuple(filter(None, places)), scene.background)
        assert read_caption(part.caption) == said, part.caption


def colours_in(text: str) -> set[str]:
    """Colours that an English text names, in any of their wordings."""
    text = text.lower()
    words = {word.removeprefix(HELD_OUT): colour for colour in COLOURS for word in banks("en")[f"colour.{colour}"]}
    names = [
        name.lower()
        for thing in catalogue().values()
        for name in thing.names["en"]
        if set(name.split()) & set(words) - {name}
    ]
    for name in sorted(names, key=len, reverse=True):  # an orange, a polar bear: the name of a thing is no colour
        text = re.sub(rf"\b{name}s?\b", "THING", text)
    return {colour for word, colour in words.items() if re.search(rf"\b{word}\b", text)}


def without_articles(text: str) -> str:
    return re.sub(r"\b(?:an?|the) ", "", text.lower())


def values_in(text: str, attribute: str) -> set[str]:
    """Values of an attribute whose wording an English text holds, with or without its articles."""
    prefix, text = f"{attribute}.", without_articles(text)
    wordings = {name.removeprefix(prefix): bank for name, bank in banks("en").items() if name.startswith(prefix)}
    found = ((len(word.removeprefix(HELD_OUT)), value) for value, bank in wordings.items() for word in bank
             if re.search(rf"\b{re.escape(without_articles(word.removeprefix(HELD_OUT)))}(?!\w)", text))  # fmt: skip
    return {value for _, value in found}


@pytest.mark.parametrize("kind", ["request", "edit", "correct", "again", "together", "more", "both", "but_no"])
def test_captions_never_name_what_was_not_asked_for(kind):
    """Every colour, size and background of an image is in what the user said or showed up to there."""
    for each in of_kind(kind):
        said, shown = "", []
        for turn in each.turns:
            if turn.role == "user":
                said += turn.text + " . "
                shown += [part.content for part in turn.media]
                continue
            for part in turn.media:
                if part.modality != "image":
                    continue
                read = read_caption(part.caption)
                known = {colour for scene in shown for _, colour in nouns_of(scene)}
                assert {colour for _, colour in read.nouns if colour} <= colours_in(said) | known, (said, part.caption)
                sizes = values_in(said, "size") | {scene.size for scene in shown}
                sizes |= {"small"} if re.search("smaller|shrink|less big|down|reduce", said.lower()) else set()
                sizes |= {"large"} if re.search("bigger|larger|blow|up|enlarge|increase|fill", said.lower()) else set()
                assert {read.size} - {""} <= sizes, (said, part.caption)
                places = values_in(said, "background") | {scene.background for scene in shown}
                assert {read.background} - {""} <= places, (said, part.caption)


def test_a_request_is_met_whole():
    """What a single request names is in the caption: colours, numbers, backgrounds."""
    for each in of_kind("request", 100):
        user, (part,) = each.turns[0].text, each.turns[1].media
        if part.modality != "image":
            continue
        read = read_caption(part.caption)
        if "orange" in {thing for thing, _ in read.nouns}:
            continue  # the word may be either
        assert colours_in(user) == {colour for _, colour in read.nouns if colour}, (user, part.caption)
        assert (read.background or None) in {None, *values_in(user, "background")}
        if read.count > 1 and len(read.nouns) == 1:
            assert str(read.count) in values_in(user, "number")


def test_a_medium_is_made_only_where_one_is_asked_for():
    for kind in ("talk", "mention", "outside", "ask", "where", "compare", "count_media", "listen", "unsure"):
        assert not [part for each in of_kind(kind, 30) for turn in each.turns[1::2] for part in turn.media], kind
    for each in of_kind("thank", 30):
        assert [bool(turn.media) for turn in each.turns[1::2]] == [True, False]
    for each in of_kind("both", 30):
        assert len(each.turns[-1].media) == 2


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_asked_for_by_its_own_words_and_changes_that_alone(name):
    """Each kind of change is possible for some of the scenes, and leaves the rest as it was."""
    speaker, changed = Speaker("en", np.random.default_rng(8)), 0
    for _ in range(150):
        shown = composing.scene(speaker)
        found = CHANGES[name](speaker, shown)
        if found is None:
            continue
        changed += 1
        assert found.bank.startswith("change.") and speaker.say(found.bank, **found.slots)
        before, after = (
            {"nouns": nouns_of(scene), "count": scene.count, "size": scene.size, "position": scene.position,
             "background": scene.background} for scene in (shown, found.scene)
        )  # fmt: skip
        differs = {key for key in before if before[key] != after[key]}
        allowed = {"count": {"count"}, "single": {"count"}, "size": {"size"}, "position": {"position"}}
        allowed |= {"background": {"background"}, "no_background": {"background"}}
        assert differs and differs <= allowed.get(name, {"nouns", "count"}), (name, before, after)
    assert changed > 5


# What is said about images that are shown


def usual(thing: str, language: str) -> str:
    return catalogue()[thing].names[language][0].removeprefix("some ")


def colour_word(colour: str, language: str) -> str:
    return colour if language == "en" else CHINESE_COLOURS[colour]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_answers_are_true_to_the_image(language):
    topics = Counter()
    for each in of_kind("ask", 180, language) + of_kind("where", 40, language):
        (part,), reply, topic = each.turns[0].media, each.turns[-1].text, each.expected["topic"]
        scene, nouns = part.content, nouns_of(part.content)
        topics[topic] += 1
        if topic in ("what", "describe") and scene.layout != "several":
            assert all(usual(thing, language).split()[-1] in reply.lower() or thing in reply for thing, _ in nouns)
            assert all(colour_word(colour, language) in reply.lower() for _, colour in nouns if colour)
        if topic == "colour":
            told = [colour for colour in COLOURS if colour_word(colour, language) in reply.lower().split(" is ")[-1]]
            assert set(told) & {colour for _, colour in nouns}
        if topic == "count":
            words = ["", "one", "two", "three", "four", "five"] if language == "en" else list(" 一两三四五")
            assert words[scene.count] in reply.lower()
        if topic == "box":
            (told,) = parse_boxes(reply)
            exact = [tuple(round(100 * corner) for corner in box) for box in boxes(scene)]
            assert told in exact
            if language == "en":  # the box of the thing that was asked for
                at = exact.index(told)
                names = catalogue()[nouns[at][0]].names["en"]
                assert any(name.removeprefix("some ").lower() in each.turns[-2].text.lower() for name in names)
        if topic == "background" and language == "en":
            assert ("plain" in reply) == (scene.background == "")
        if topic in ("side", "position") and language == "en":
            at = [index for index, (thing, _) in enumerate(nouns) if named(thing, each.turns[-2].text)]
            place = {"beside": ("left", "right"), "above": ("top", "bottom")}.get(scene.layout, (scene.position,))
            assert any(place[index] in reply.lower() for index in at) or place == ("",)
        if topic in ("yes", "no") and language == "en":
            assert reply.startswith("Yes" if topic == "yes" else "No")
            there = [(thing, colour) for thing, colour in nouns if named(thing, each.turns[-2].text)]
            asked = colours_in(each.turns[-2].text)
            assert bool([1 for _, colour in there if not asked or colour in asked]) == (topic == "yes")
    assert len(topics) >= 14


def named(thing: str, text: str) -> bool:
    """Whether an English text calls the thing by one of its names, in the singular or the plural."""
    names = (name.removeprefix("some ").lower() for name in catalogue()[thing].names["en"])
    words = text.lower()
    return any(re.search(rf"\b{re.escape(name[:-1])}\w*", words) for name in names if len(name) > 2)


def test_boxes_are_read_back():
    for each in of_kind("where", 40):
        found = parse_boxes(each.turns[1].text)
        assert len(found) == 1


def test_recalls_and_counts_are_true():
    for each in of_kind("remember", 60):
        media = [part for turn in each.turns for part in turn.media]
        asked = each.turns[-2].text.lower()
        orders = ("first", "second", "third")
        at = next((n for n, word in enumerate(orders) if word in asked or f"{n + 1}{word[-2:]}" in asked), -1)
        scene, reply = media[at].content, each.turns[-1].text.lower()
        assert scene.layout == "several" or all(
            usual(thing, "en").split()[-1].lower() in reply for thing, _ in nouns_of(scene)
        )
    for each in of_kind("count_media", 60):
        media = [part for turn in each.turns for part in turn.media]
        counts = {NUMBERS[len(media)]} | {
            NUMBERS[Counter(part.content.placed[0].thing for part in media)[media[0].content.placed[0].thing]]
        }
        assert set(re.findall("one|two|three|four|five", each.turns[-1].text.lower())) & counts


NUMBERS = ("no", "one", "two", "three", "four", "five")


def test_comparisons_are_true():
    told = Counter()
    for each in of_kind("compare", 90):
        first, second = (part.content for turn in each.turns for part in turn.media)
        reply, topic = each.turns[-1].text.lower(), each.expected["topic"]
        told[topic] += 1
        if topic == "more":
            assert ("first" in reply) == (first.count > second.count)
        if topic == "same":
            assert reply.startswith("yes") == (nouns_of(first)[0][0] == nouns_of(second)[0][0])
        if topic == "which_colour":
            (asked,) = colours_in(each.turns[-2].text)
            assert ("first" in reply) == (asked in {colour for _, colour in nouns_of(first)})
        if topic == "which":
            shown = nouns_of(first if "first" in reply else second)
            assert any(named(thing, each.turns[-2].text) for thing, _ in shown)
    assert len(told) == 5


def test_photographs_are_named_as_surely_as_the_classifier_is():
    sure = Counter()
    for each in of_kind("photograph", 100):
        part = each.turns[0].media[0]
        assert isinstance(part.content, Photograph)
        (best, probability), *_ = part.content.classes
        assert sum(share for _, share in part.content.classes) <= 1
        reply = each.turns[1].text.lower()
        unsure = bool(re.search(r"not sure|hard to say|cannot tell|might|could be", reply))
        sure[unsure] += 1
        assert unsure == (probability < 0.4)
        assert best in reply or each.expected["topic"] == "yes_no"
    assert min(sure.values()) > 20


def test_without_classes_there_are_no_photographs():
    assert "photograph" not in {dialogue(3, index).kind for index in range(150)}
    with pytest.raises(ValueError, match="photograph need classes"):
        dialogue(0, 0, "photograph")


@pytest.mark.parametrize(("name", "value"), [("kind", "poem"), ("language", "fr"), ("wording", "odd")])
def test_unknown_choices_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"unknown {name} '{value}'"):
        dialogue(0, 0, **{name: value})
