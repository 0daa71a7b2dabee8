"""Records that cannot be used: found in every line of a manifest, counted once, refused beyond the limit."""

import json

import pytest

from data.records import STREAM_HORIZON, BadRecords, TooManyBadRecords, scan_manifest

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def line(*messages):
    return json.dumps({"messages": messages})


def test_a_manifest_is_read_to_its_end_whatever_is_wrong_in_it(tmp_path):
    asked, picture = {"role": "user", "content": "a"}, {"type": "image", "path": "no.png"}
    wrong = {
        "{oops": "not JSON",
        line(asked): "no reply of an assistant",
        line(asked, {"role": "assistant", "content": " "}): "reply 1 of the assistant is empty",
        line({"role": "user", "content": [picture]}): "no file 'no.png'",
    }
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join([json.dumps(GOOD), *wrong, "", json.dumps(GOOD)]) + "\n")
    found = list(scan_manifest(path))
    assert [located.record is not None for located in found] == [True, *[False] * len(wrong), True]
    for located, reason in zip(found[1:-1], wrong.values(), strict=True):
        assert reason in located.problem and not located.problem.startswith(str(tmp_path))
    assert [located.where for located in found] == [f"{path}, line {n}" for n in (1, 2, 3, 4, 5, 7)]


def test_a_medium_of_the_assistant_may_be_a_caption_alone(tmp_path):
    path = tmp_path / "manifest.jsonl"
    reply = {"role": "assistant", "content": [{"type": "image", "caption": "a bell"}]}
    shown = {"role": "user", "content": [{"type": "image", "caption": "a bell"}]}
    path.write_text("".join(json.dumps({"messages": [first, reply]}) + "\n" for first in (GOOD["messages"][0], shown)))
    good, bad = scan_manifest(path)
    assert good.record["messages"][1]["content"] == [{"type": "image", "caption": "a bell"}]
    assert 'needs a "path"' in bad.problem


def test_the_limit_is_a_share_of_all_records():
    bad = BadRecords("skip", 0.1, total=20)
    bad.add("a, line 1", "broken")
    bad.add("a, line 1", "broken")  # met again in the next epoch
    bad.add("a, line 2", "gone")
    bad.check()
    bad.add("a, line 3", "empty")
    with pytest.raises(
        TooManyBadRecords, match=r"3 of 20 records .* share of 0\.1 allowed: a, line 1: broken; a, line 2"
    ):
        bad.check()


def test_refuse_allows_none_and_a_stream_is_judged_by_what_was_seen():
    bad = BadRecords("refuse", 0.5, total=20)
    bad.check()
    bad.add("a, line 1", "broken")
    with pytest.raises(TooManyBadRecords, match="1 of 20 records cannot be used, and none is allowed"):
        bad.check()
    stream = BadRecords("skip", 2 / STREAM_HORIZON)
    stream.add("a", "broken")
    stream.add("b", "broken")
    stream.check()
    stream.seen = 3 * STREAM_HORIZON
    stream.add("c", "broken")
    stream.check()


def test_each_is_written_down(tmp_path):
    path = tmp_path / "rejected.jsonl"
    bad = BadRecords("skip", 1.0, total=9)
    bad.add("a, line 1", "broken")
    bad.write(path)
    bad.add("a, line 2", "坏了")
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"where": "a, line 1", "reason": "broken"}, {"where": "a, line 2", "reason": "坏了"},
    ]  # fmt: skip


@pytest.mark.parametrize(("policy", "limit", "sentence"), [("ignore", 0.1, "unknown policy"), ("skip", 2, "0 to 1")])
def test_unknown_policies_are_refused(policy, limit, sentence):
    with pytest.raises(ValueError, match=sentence):
        BadRecords(policy, limit)
