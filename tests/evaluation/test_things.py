"""The suite on the world of things: what captions ask for, what a judge sees, which cases are put, how they count."""

import pytest

from data import things
from data.boxes import overlap
from data.parts import PartMissing
from data.things.sounds.rendering import render_sound
from data.things.sounds.scenes import SoundScene
from data.things.sounds.scenes import caption as sound_caption
from encoders.trunk_encoder import TrunkEncoder
from evaluation.conversations import ConversationRun
from evaluation.statistics import verdicts
from evaluation.things.attributes import Wanted, wanted
from evaluation.things.cases import Case, plan
from evaluation.things.general import perplexity_ratio, prompts
from evaluation.things.judging import ImageJudge, Seen
from evaluation.things.phrase_judging import CHOICES, sound_choices, video_choices
from evaluation.things.requests import free_requests
from evaluation.things.suite import TARGETS, Judge, Judgement, answers, find_judges, judge, measure
from nextgpt_lite import Reply
from nextgpt_lite.any_to_any import ReplyMedium
from nextgpt_lite.checkpoint import WEIGHTS


def test_captions_say_what_is_wanted():
    assert wanted("a small red cat at the top left, in a meadow") == ([Wanted("cat", "red", "at the top left")], 1)
    assert wanted("three green frogs") == ([Wanted("frog", "green", "")], 3)
    assert wanted("a green pair of headphones and an orange") == (
        [Wanted("pair of headphones", "green", ""), Wanted("orange", "", "")], 2,
    )  # fmt: skip
    with pytest.raises(ValueError, match="blargh"):
        wanted("a red blargh")


def test_every_scene_and_every_frozen_request_can_be_judged():
    for index in range(300):
        scene = things.sample(8, index)
        found, number = wanted(things.caption(scene))
        assert number == len(scene.placed)
        assert {(each.thing, each.colour) for each in found} == {(p.thing, p.colour or "") for p in scene.placed}
    for language in ("en", "zh"):
        for request in free_requests(language):
            for modality, caption in request.media:
                assert wanted(caption)[0] if modality == "image" else CHOICES[modality](caption)


@pytest.fixture(scope="module")
def judges() -> dict[str, Judge]:
    """Judges with the encoder that ships."""
    try:
        return find_judges(TrunkEncoder.from_pretrained(WEIGHTS / "small" / "encoder"))
    except PartMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def seeing(judges) -> ImageJudge:
    return judges["image"]


CAT, FROG = things.Placed("cat", "red", 0.25, 0.5, 0.4, False), things.Placed("frog", "green", 0.75, 0.5, 0.4, False)
IMAGE = things.render_image(things.Scene((CAT, FROG), "beside", "", "", "", 3))


def test_a_judge_names_things_colours_and_places(seeing):
    assert {(each.thing, each.colour) for each in seeing.see(IMAGE)} == {("cat", "red"), ("frog", "green")}
    right = {"thing": True, "number": True, "colour": True, "place": True}
    assert seeing.agreement("a red cat on the left and a frog on the right", IMAGE) == right
    assert seeing.agreement("a blue cat", IMAGE) == {"thing": True, "number": False, "colour": False}
    assert seeing.agreement("a dog on the left", IMAGE) == {"thing": False, "number": False, "place": False}
    low = Seen("cat", "red", (0.5, 0.9))
    assert low.stands("at the bottom") and not low.stands("on the left")


def test_a_judge_hears_kinds_and_how_often(judges):
    for kind, count in (("trumpet", 2), ("bird", 3), ("snare drum", 1)):
        scene = SoundScene(kind, count, "", "", "", "", 5)
        wave, said = render_sound(scene), sound_caption(scene)
        assert judges["audio"].agreement(said, wave) == {"thing": True, "number": True}
        assert not judges["audio"].agreement("a ringing telephone", wave)["thing"]
    with pytest.raises(ValueError, match="blargh"):
        sound_choices("a blargh")


def test_what_may_be_said_of_a_video():
    chosen = {each.attribute: each for each in video_choices("a red car on the left that spins and a dog that rises")}
    assert chosen["colour"].right == {"red car"} and "blue car" in chosen["colour"].phrases
    assert chosen["motion"].right == {"rises"} and chosen["thing"].right == {"dog"}
    assert {each.attribute for each in video_choices("an animated penguin")} == {"thing"}


def test_boxes_overlap():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1 and overlap((0, 0, 10, 10), (20, 0, 30, 10)) == 0
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)


def test_replies_are_compared_with_what_was_asked(judges):
    made = ReplyMedium("image", IMAGE, None, 8, 0.0)
    case = Case("draw_one", (), (("image", "a red cat on the left"),), (), 0)
    reply = Reply("Here it is.", media=[made])
    assert judge(ConversationRun(case, replies=[reply]), judges)["routed"]
    assert judge(ConversationRun(case, replies=[Reply("No.")]), judges) == {"routed": False, "thing": False}
    assert answers("There are three frogs at [10, 10, 50, 52].", ("frogs", "[10, 10, 50, 50]"))
    assert not answers("[60, 10, 90, 50]", ("[10, 10, 50, 50]",)) and not answers("A cat.", ("dog",))


def test_shares_and_targets():
    case = Case("what", (), (), ("cat",), 0)
    judged = [
        Judgement(ConversationRun(case), {"routed": True, "answer": right}) for right in (True, True, False, True)
    ]
    metrics = measure(judged)
    assert metrics["what"] == {"routed": 1.0, "answer": 0.75, "all": 0.75}
    assert metrics["intervals"]["what.answer"][0] < 0.75 < metrics["intervals"]["what.answer"][1]
    by_name = dict(zip(TARGETS, verdicts(metrics, TARGETS), strict=True))
    assert by_name["what.answer"].passed is False and by_name["box.answer"].passed is None


def test_the_plan_has_cases_of_every_group_that_can_be_rendered():
    cases = plan(0.03, 5)
    groups = {case.group for case in cases}
    assert {"free_en", "free_zh", "draw_one", "draw_two", "what", "box", "recall", "compare", "talk"} <= groups
    assert all(case.turns and (case.media or case.answer or case.group in ("talk", "free_en", "free_zh", "compare"))
               for case in cases)  # fmt: skip
    assert [case.turns[0][0] for case in cases[:3]] == [case.turns[0][0] for case in plan(0.03, 5)[:3]]


def test_a_model_that_changes_nothing_keeps_general_conversation(tiny_model, monkeypatch):
    monkeypatch.setattr("evaluation.things.general.LONGEST", 6)
    assert len(set(prompts(200))) == 200 and prompts(2) == ["What is photosynthesis?", "Explain gravity to a child."]
    assert perplexity_ratio(tiny_model, 4) == pytest.approx(1.0, abs=0.03)  # signal tokens take their share
    norm = tiny_model.core.language_model.model.norm.weight
    before = norm.detach().clone()
    try:
        norm.data.mul_(-2)
        assert perplexity_ratio(tiny_model, 4) > 1.05  # the base is read anew from its folder
    finally:
        norm.data.copy_(before)
