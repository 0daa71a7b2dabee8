"""``nextgpt-lite import``: what can be used becomes a manifest, what cannot is named; whole or nothing."""

import json

import pytest

from data.manifest import read_manifest
from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from data.toybox import render, sample
from nextgpt_lite.cli import main


@pytest.fixture
def source(tmp_path):
    """Four LLaVA records: a good one, a broken picture, a sound that is listed as a picture, a missing file."""
    folder = tmp_path / "published"
    (folder / "pictures").mkdir(parents=True)
    save_medium(Medium("image", render(sample(1, 1), "image")), folder / "pictures/good.png")
    whole = (folder / "pictures/good.png").read_bytes()
    (folder / "pictures/broken.png").write_bytes(whole[: len(whole) // 2])
    save_medium(Medium("audio", render(sample(1, 1), "audio"), 16_000), folder / "sound.wav")
    names = ["pictures/good.png", "pictures/broken.png", "sound.wav", "pictures/gone.png", "../outside.png"]
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bell."}]
    lines = [json.dumps({"id": n, "image": name, "conversations": turns}) for n, name in enumerate(names)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "train.jsonl"


def test_bad_records_are_named_and_left_out(source, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["import", "llava", str(source), "--out", str(out), "--bad", "skip", "--bad-limit", "0.8"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert f"{out}/manifest.jsonl: 1 records, 1 image; 4 left out" in printed.out
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [entry["where"] for entry in rejected] == [f"{source}, line {n}, id {n - 1}" for n in (2, 3, 4, 5)]
    reasons = ("damaged or truncated", "listed as image, but it holds audio", "no file 'pictures/gone.png'", "leaves")
    for entry, reason in zip(rejected, reasons, strict=True):
        assert reason in entry["reason"] and entry["where"] in printed.err
    [record] = read_manifest(out / "manifest.jsonl")
    part = record["messages"][0]["content"][0]
    assert part["path"] == str(out / "media/pictures/good.png")
    assert (load_medium(part["path"]).array == render(sample(1, 1), "image")).all()
    assert [file.name for file in (out / "media").rglob("*") if file.is_file()] == ["good.png"]


@pytest.mark.parametrize("policy", [["--bad", "refuse"], ["--bad", "skip", "--bad-limit", "0.5"]])
def test_too_many_bad_records_write_nothing(source, tmp_path, capsys, policy):
    before = sorted(tmp_path.iterdir())
    assert main(["import", "llava", str(source), "--out", str(tmp_path / "out"), *policy]) == 2
    assert "4 of 5 records cannot be used" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_media_can_be_linked_and_lie_in_a_folder_of_their_own(source, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("audiocap_id,youtube_id,start_time,caption\n1,sound,0,a bell rings\n")
    out = tmp_path / "deep/out"
    arguments = ["import", "audiocaps", str(table), "--media", str(source.parent), "--out", str(out), "--link"]
    assert main([*arguments, "--set", "task=make"]) == 0
    assert (out / "media/sound.wav").samefile(source.parent / "sound.wav")
    [record] = read_manifest(out / "manifest.jsonl")
    assert record["messages"][1]["content"][1]["caption"] == "a bell rings"
    assert not (out / "rejected.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({0: "lava"}, "unknown format 'lava'"),
        ({1: "none.json"}, "there is no file none.json"),
        ({"--set": "colour=red"}, "--set colour=red: format llava has the options none"),
        ({"--media": "nowhere"}, "there is no folder nowhere"),
        ({"--processes": "0"}, "--processes must be at least 1"),
        ({"--bad-limit": "7"}, "a share from 0 to 1"),
    ],
)
def test_bad_input_is_one_sentence(source, tmp_path, capsys, change, sentence):
    given = {0: "llava", 1: str(source)} | {place: value for place, value in change.items() if isinstance(place, int)}
    options = [word for place, value in change.items() if isinstance(place, str) for word in (place, value)]
    assert main(["import", given[0], given[1], "--out", str(tmp_path / "out"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
