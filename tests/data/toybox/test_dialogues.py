"""Dialogues are deterministic, say what their media show, and keep held-out pairs out of training."""

from collections import Counter

import numpy as np
import pytest

from data.toybox import (
    HELD_OUT_PAIRS,
    KINDS,
    TAG_WORDS,
    MediaPart,
    dialogue,
    mismatched_media,
    parse_reply,
    parse_tags,
    text_only,
    visible,
    vocabulary_corpus,
)

KIND_NAMES = tuple(kind for kind, _ in KINDS)


def words_of(turn):
    return " ".join(part for part in turn.parts if isinstance(part, str))


def media_of(turn):
    return [part for part in turn.parts if isinstance(part, MediaPart)]


def test_the_same_arguments_give_the_same_dialogue():
    for index in range(60):
        assert dialogue(3, index) == dialogue(3, index)
    assert dialogue(3, 0) != dialogue(4, 0)
    assert len({repr(dialogue(3, index)) for index in range(300)}) > 270


def test_shares_of_kinds_and_languages():
    drawn = [dialogue(2, index) for index in range(3000)]
    kinds, total = Counter(each.kind for each in drawn), sum(weight for _, weight in KINDS)
    for kind, weight in KINDS:
        assert abs(kinds[kind] / 3000 - weight / total) < 0.025, kind
    assert abs(sum(each.language == "en" for each in drawn) / 3000 - 0.7) < 0.03


def test_every_reply_is_parsed_to_what_is_expected():
    for index in range(2500):
        last = dialogue(1, index)
        parsed = parse_reply(words_of(last.turns[-1]))
        expected = dict(last.expected["attributes"])
        assert expected.items() <= parsed.items(), (last, parsed)
        assert parsed.get("unknown", False) == last.expected["unknown"]


def test_turns_alternate_and_end_with_the_assistant():
    for index in range(600):
        turns = dialogue(8, index).turns
        assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert all(turn.parts and "{" not in words_of(turn) for turn in turns)
        assert all(words_of(turn).strip() for turn in turns[1::2])


def test_made_media_agree_with_their_caption_and_the_words_before():
    seen = Counter()
    for index in range(2000):
        for turn in dialogue(9, index).turns:
            if turn.role == "user":
                assert all(part.caption == "" for part in media_of(turn))
                continue
            for words, medium in zip(turn.parts, turn.parts[1:], strict=False):
                if not isinstance(medium, MediaPart):
                    continue
                seen[medium.modality] += 1
                stated = parse_tags(medium.caption)
                assert stated.items() <= visible(medium.scene, medium.modality).items()
                said = {name: value for name, value in parse_reply(words).items() if name != "count"}
                assert said == {name: value for name, value in stated.items() if name != "count"}
                assert stated.get("count", 1) == 1 or parse_reply(words)["count"] == stated["count"]
    assert min(seen[modality] for modality in ("image", "video", "audio")) > 100


def test_media_asked_for_are_the_media_given():
    for index in range(1000):
        last = dialogue(10, index)
        given = [part.modality for part in media_of(last.turns[-1])]
        assert given == last.expected["modalities"]
        if len(given) > 1:
            assert set(last.expected["attributes_by_modality"]) == set(given)


def test_training_never_holds_a_held_out_pair():
    for index in range(4000):
        for turn in dialogue(4, index).turns:
            for part in turn.parts:
                if isinstance(part, MediaPart) and part.scene:
                    assert (part.scene.thing, part.scene.colour) not in HELD_OUT_PAIRS
                elif isinstance(part, str):
                    named = parse_reply(part)
                    if "things" not in named and "colours" not in named:
                        assert (named.get("thing"), named.get("colour")) not in HELD_OUT_PAIRS, part


@pytest.mark.parametrize("kind", ["generate", "convert", "edit", "combine", "multi"])
def test_held_out_dialogues_end_in_a_held_out_pair(kind):
    for index in range(150):
        for medium in media_of(dialogue(6, index, kind=kind, pairs="held_out").turns[-1]):
            assert (medium.scene.thing, medium.scene.colour) in HELD_OUT_PAIRS
    for index in range(100):
        named = dialogue(6, index, kind="edit", target="image", pairs="held_out").expected["attributes"]
        assert (named["thing"], named["colour"]) in HELD_OUT_PAIRS


def test_edit_changes_one_attribute_and_keeps_the_rest():
    for index in range(300):
        last = dialogue(12, index, kind="edit", source="text")
        before, after = (parse_tags(media_of(turn)[0].caption) for turn in last.turns[1::2][-2:])
        changed = last.expected["changed"]
        assert before.get(changed) != after[changed]
        assert before | {changed: after[changed]} == after == last.expected["attributes"]


@pytest.mark.parametrize("source", ["text", "image", "audio", "video", "points"])
@pytest.mark.parametrize("target", ["text", "image", "audio", "video"])
def test_source_and_target_fill_the_matrix(source, target):
    for index in range(20):
        cell = dialogue(13, index, source=source, target=target)
        assert [part.modality for part in media_of(cell.turns[0])] == ([] if source == "text" else [source])
        assert cell.expected["modalities"] == ([] if target == "text" else [target])
        assert "thing" in cell.expected["attributes"]


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_users_paraphrase_and_keep_to_the_language(kind, language):
    drawn = [dialogue(14, index, kind=kind, language=language) for index in range(60)]
    assert len({words_of(each.turns[-2]) for each in drawn}) >= 8
    for each in drawn:
        for turn in each.turns:
            if not words_of(turn):  # a medium attached without a word is answered in English
                assert language == "en"
                continue
            assert any("一" <= letter <= "鿿" for letter in words_of(turn)) == (language == "zh"), turn


def test_decline_shows_only_what_the_world_does_not_hold():
    for index in range(200):
        each = dialogue(15, index, kind="decline")
        assert each.expected["unknown"]
        assert all(part.scene is None and part.out_of_distribution for part in media_of(each.turns[0]))
        assert media_of(each.turns[-1]) == []


def test_bad_wishes_are_named():
    with pytest.raises(ValueError, match="smell"):
        dialogue(0, 0, source="smell")
    with pytest.raises(ValueError, match="gossip"):
        dialogue(0, 0, kind="gossip")
    with pytest.raises(ValueError, match="points"):
        dialogue(0, 0, target="points")
    with pytest.raises(ValueError, match="fr"):
        dialogue(0, 0, language="fr")


def test_text_only_tells_what_a_user_shows():
    for index in range(400):
        each = dialogue(16, index)
        told = text_only(each, np.random.default_rng(index))
        assert [role for role, _ in told] == [turn.role for turn in each.turns]
        for (role, parts), turn in zip(told, each.turns, strict=True):
            if role == "assistant":
                assert parts == turn.parts
                continue
            assert len(parts) == 1
            assert isinstance(parts[0], str)
            for medium in media_of(turn):
                assert f"[{medium.modality}: " in parts[0]
                if medium.scene and len(media_of(turn)) == 1:
                    brackets = parts[0][parts[0].index("[") : parts[0].index("]")]
                    assert visible(medium.scene, medium.modality).items() <= parse_reply(brackets).items()


def test_mismatched_edits_keep_their_words_and_show_something_else():
    edits = [dialogue(17, index, kind="edit") for index in range(60)]
    for index, each in enumerate(edits):
        wrong = mismatched_media(each, 1.0, np.random.default_rng(index))
        assert mismatched_media(each, 0.0, np.random.default_rng(index)) == each
        for turn, other in zip(each.turns, wrong.turns, strict=True):
            if turn.role == "user":
                assert other == turn
                continue
            (said, medium), (said_again, shown) = turn.parts, other.parts
            assert said == said_again and (shown.modality, shown.caption) == (medium.modality, medium.caption)
            assert shown.scene != medium.scene
    media = [sum(len(media_of(turn)) for turn in each.turns if turn.role == "assistant") for each in edits]
    changed = [
        sum(
            a != b
            for a, b in zip(each.turns, mismatched_media(each, 0.5, np.random.default_rng(index)).turns, strict=True)
        )
        for index, each in enumerate(edits)
    ]
    assert 0.35 < sum(changed) / sum(media) < 0.65
    question = dialogue(17, 0, kind="own")
    assert mismatched_media(question, 1.0, np.random.default_rng(0)) == question, "there the medium is asked about"


def test_vocabulary_corpus_holds_every_tag_and_both_languages():
    corpus = " ".join(vocabulary_corpus(3000))
    assert set(TAG_WORDS) <= set(corpus.split())
    assert "铃铛" in corpus
    assert "rain clouds" in corpus


def test_comparisons_of_held_out_pairs_come_to_an_end():
    """A held-out thing has one colour: two media of the same thing cannot differ in colour."""
    for index in range(20):
        assert len(media_of(dialogue(5, index, kind="compare", pairs="held_out").turns[0])) == 2
