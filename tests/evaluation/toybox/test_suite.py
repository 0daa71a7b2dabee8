"""Cases, judging and metrics of the suite, on replies made by hand from real renders."""

import pytest

from data import toybox
from evaluation.conversations import ConversationRun, run_cases
from evaluation.report import write_report
from evaluation.statistics import verdicts
from evaluation.toybox.cases import Case, plan, stream_seed
from evaluation.toybox.conversations import (
    correct,
    judge,
    score_media,
    shown_conversation,
)
from evaluation.toybox.suite import TARGETS, cells, choose_conversations, edit_right, measure
from nextgpt_lite import Reply, ReplyMedium

SCENE = toybox.sample(77, 3, "all").with_(thing="bell", colour="red", count=1)


class Perfect:
    """Answers every case as it expects to be answered, with real renders: its metrics are known."""

    def __init__(self, cases):
        self.cases = {id(turn): (case, number) for case in cases for number, turn in enumerate(case.turns)}

    def chat_batch(self, conversations, seeds):
        assert len(conversations) == len(seeds)
        return [self.answer(*self.cases[id(messages[-1]["content"])]) for messages in conversations]

    def answer(self, case, turn):
        if case.expected["unknown"] and turn == len(case.turns) - 1:
            return Reply("I don't know this. I only know the things of my little world.")
        wanted = case.expected_by_modality
        media = []
        for modality in case.requested[turn]:
            attributes = wanted.get(modality, {})
            scene = toybox.sample(9, case.seed, "all").with_(**{"count": 1, **attributes})
            media.append(medium(scene, modality))
        return Reply(self.text(wanted.get("text", {})), media)

    def text(self, attributes):
        named = {k: v for k, v in attributes.items() if k in toybox.Scene.__dataclass_fields__}
        words = f"this is {toybox.phrase(named)}." if "thing" in named else ""
        if "things" in attributes:
            words = " and ".join(toybox.phrase({"thing": thing}) for thing in attributes["things"])
        if "colours" in attributes:
            words = " and ".join(attributes["colours"])
        start = {"yes": "Yes, ", "no": "No, ", "first": "The first one: ", "second": "The second one: "}
        return start.get(attributes.get("answer"), "") + words


def case(group="matrix", cell="text->image", attributes=None, modalities=("image",), turns=1, **more):
    expected = {"modalities": list(modalities), "attributes": attributes or {}, "unknown": False, **more}
    asked = (tuple(modalities),) * turns
    return Case(group, cell, ([{"type": "text", "text": "draw a red bell"}],) * turns, asked, expected, "en", 5)


def judged(asked, reply):
    run = ConversationRun(asked, [{"role": "user", "content": asked.turns[0]}, reply.as_message()], [reply])
    score_media([run])
    return judge(run)


def medium(scene, modality):
    return ReplyMedium(modality, toybox.render(scene, modality), None, signal_tokens=4, seconds=0.0)


def image(**changes):
    return medium(SCENE.with_(**changes), "image")


def test_an_image_is_judged_by_what_it_shows():
    asked = case(attributes={"thing": "bell", "colour": "red", "count": 1})
    right = judged(asked, Reply("Here is a red bell.", [image()]))
    assert right.right
    assert right.answers == {"image": {"thing": True, "colour": True, "count": True}}
    wrong = judged(asked, Reply("Here is a red bell.", [image(colour="blue")]))
    assert wrong.answers["image"]["thing"]
    assert not wrong.answers["image"]["colour"]
    assert "colour red (not met)" in shown_conversation(wrong).expected


def test_a_missing_or_an_extra_medium_is_wrong():
    asked = case(attributes={"thing": "bell"})
    assert judged(asked, Reply("Here is a bell.")).attributes == {"thing": False, "count": False}
    extra = judged(asked, Reply("Here is a bell.", [image(), image()]))
    assert extra.attributes == {"thing": True, "count": True}
    assert not extra.right


def test_words_are_read_by_the_grammar():
    asked = case(cell="image->text", attributes={"thing": "bell", "colour": "red"}, modalities=())
    assert judged(asked, Reply("This is a red bell.")).right
    assert not judged(asked, Reply("This is a red drum.")).right
    assert judged(asked, Reply("这是红色的铃铛。")).right


@pytest.mark.parametrize(
    "said", ["This is not a bell.", "This isn't a bell, but a drum.", "A bell or a drum.", "鼓或铃铛。"]
)
def test_what_is_denied_or_left_open_is_not_said(said):
    asked = case(cell="image->text", attributes={"thing": "bell"}, modalities=())
    assert not judged(asked, Reply(said)).right


def test_two_things_for_one_are_wrong_though_no_number_was_said():
    asked = case(attributes={"thing": "bell", "colour": "red"})
    two = judged(asked, Reply("Here is a red bell.", [image(count=2)]))
    assert two.attributes == {"thing": True, "colour": True, "count": False} and not two.right


def test_a_decline_must_come_without_media_and_only_where_it_is_due():
    unknown = case(modalities=(), unknown=True)
    assert judged(unknown, Reply("I don't know this.")).declined
    assert not judged(unknown, Reply("I don't know this.", [image()])).declined
    assert not judged(unknown, Reply("This is a bell.")).right
    assert not judged(case(attributes={"thing": "bell"}, modalities=()), Reply("I don't know this.")).right


def test_an_edit_needs_the_changed_attribute_and_the_thing():
    colour = case("edits", attributes={"thing": "bell", "colour": "red", "place": "top"}, changed="colour")
    assert edit_right(judged(colour, Reply("", [image(place="bottom")])))
    assert not edit_right(judged(colour, Reply("", [image(colour="blue")])))
    thing = case("edits", attributes={"thing": "bell", "colour": "red"}, changed="thing")
    assert not edit_right(judged(thing, Reply("", [image(colour="blue")])))


def test_a_question_about_the_models_own_image_is_judged_by_what_that_shows():
    asked = case("own", attributes={"thing": "bell", "colour": "green"}, modalities=(), turns=2, asked="colour")
    replies = [Reply("Here is a bell.", [image(colour="blue")]), Reply("The bell is blue.")]
    run = ConversationRun(asked, [], replies)
    score_media([run])
    assert judge(run).attributes == {"thing": True, "colour": True}


def test_the_plan_fills_every_cell_and_figure_and_repeats_itself():
    cases = plan(16, 3)
    groups = {c.group for c in cases}
    assert len({c.cell for c in cases if c.group == "matrix"}) == 16
    assert {"chinese", "points", "held_out_pairs", "motion", "edits", "recalls", "unknown", "talk"} <= groups
    again = plan(16, 3)
    assert [c.expected for c in cases] == [c.expected for c in again]
    assert [c.expected for c in cases] != [c.expected for c in plan(16, 4)]


def test_evaluation_streams_never_meet_those_of_training():
    noise = [{case.seed for case in plan(8, seed)} for seed in (1, 2)]
    assert len(noise[0]) == len(plan(8, 1)) and not noise[0] & noise[1]
    assert all(stream_seed(seed, stream) >= 10_000 for seed in range(50) for stream in range(20))


def test_a_perfect_model_scores_almost_one_everywhere(tmp_path, capsys):
    cases = [c for c in plan(40, 1) if c.group not in ("own", "chain", "recalls", "multi", "long_edits")]
    conversations = run_cases(Perfect(cases), cases)
    assert f"{len(cases)}/{len(cases)}" in capsys.readouterr().err
    score_media(conversations)
    judgements = [judge(run) for run in conversations]
    metrics = measure(judgements)
    assert metrics["mean_thing"] >= 0.97
    assert metrics["routing_precision"] == metrics["routing_recall"] == 1
    assert metrics["unknown_declined"] == 1
    assert metrics["known_declined"] == 0
    for name in ("held_out_pairs", "motion", "edits", "chinese_mean"):
        assert metrics[name] >= 0.8, (name, metrics[name])
    results = {"suite": "any_to_any", "model": {"hash": "m"}, "data": {"hash": "d"}, "seed": 1, "count": 40}
    results["metrics"] = metrics
    shown = choose_conversations(judgements, 1)
    printed = write_report(tmp_path, "toybox", results, verdicts=verdicts(metrics, TARGETS), conversations=shown)
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert 'class="heat"' in page
    assert "http" not in page
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.html"}
    assert "not measured" in printed and printed.count("\n") > 20


def test_a_cell_counts_only_what_was_asked():
    members = [
        judged(case(attributes=a), Reply("", [image()]))
        for a in ({"thing": "bell"}, {"thing": "bell", "colour": "red"})
    ]
    assert cells(members) == {"text->image": {"thing": 1.0, "count": 1.0, "colour": 1.0, "samples": 2}}


@pytest.mark.parametrize("arguments", [["nonsense"], ["any_to_any", "--count", "0"], ["any_to_any", "--seed", "-1"]])
def test_bad_arguments_end_in_one_line(arguments, capsys):
    from nextgpt_lite.cli import main

    assert main(["evaluate", *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_agreement_is_all_wrong_without_a_medium():
    expected = {"thing": "bell", "colour": "red"}
    assert correct(expected, {"thing": "bell", "colour": "blue", "size": "small"}) == {"thing": True, "colour": False}
    assert correct(expected, None) == {"thing": False, "colour": False}


def test_verdicts_compare_times_downwards_and_shares_upwards():
    metrics = {"matrix": {"points->text": {"thing": 0.9}}, "mean_thing": 0.94, "seconds": {"image": 0.5, "video": 3.5}}
    passed = {each.what: each.passed for each in verdicts(metrics, TARGETS)}
    assert passed[TARGETS["matrix.points->text.thing"][1]] is True
    assert passed[TARGETS["mean_thing"][1]] is False
    assert passed[TARGETS["seconds.image"][1]] is True
    assert passed[TARGETS["seconds.video"][1]] is False
    assert passed[TARGETS["judge.oracle_audio"][1]] is None
