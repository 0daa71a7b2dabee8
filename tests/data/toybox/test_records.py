"""``nextgpt-lite toybox`` writes what it says, the same each time, whole or not at all."""

import numpy as np
import pytest

from data.manifest import read_manifest
from data.media.loading import load_medium
from data.toybox import MODALITIES, parse_tags, render, sample, write_toybox
from nextgpt_lite.cli import main


def media(record):
    parts = [part for message in record["messages"] for part in message["content"]]
    return {part["type"]: part for part in parts if part["type"] != "text"}


def test_manifest_and_media_agree_with_the_scenes(tmp_path):
    records = list(read_manifest(write_toybox(tmp_path / "toys", count=3, seed=7)))
    assert len(records) == 3
    for index, record in enumerate(records):
        scene = sample(7, index)
        assert record["meta"]["thing"] == scene.thing
        assert record["meta"]["repeats"] == scene.repeats
        parts = media(record)
        assert set(parts) == set(MODALITIES)
        picture = load_medium(parts["image"]["path"])
        assert np.array_equal(picture.array, render(scene, "image"))
        sound = load_medium(parts["audio"]["path"])
        assert np.abs(sound.array - render(scene, "audio")).max() < 1e-3
        assert sound.rate == 16_000
        film = load_medium(parts["video"]["path"])
        assert (len(film.array), film.rate) == (8, 4.0)
        assert np.abs(film.array.astype(int) - render(scene, "video")).mean() < 8
        captions = [part["caption"] for part in parts.values() if "caption" in part]
        assert captions
        assert all(parse_tags(caption)["thing"] == scene.thing for caption in captions)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in "ab":
        write_toybox(tmp_path / name, count=2, seed=3, modalities=("image", "audio", "points"))
    files = [sorted(file for file in (tmp_path / name).rglob("*") if file.is_file()) for name in "ab"]
    assert len(files[0]) == 7
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_the_command_writes_only_what_is_asked(tmp_path, capsys):
    assert main(["toybox", "--out", str(tmp_path / "new/toys"), "--count", "2", "--modality", "points"]) == 0
    assert sorted(path.name for path in (tmp_path / "new/toys").iterdir()) == ["manifest.jsonl", "points"]
    assert "2 conversations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--count", "0"], "count must be at least 1"),
        (["--count", "1", "--modality", "image,smell"], "known are image, video, audio, points"),
        (["--count", "1", "--seed", "-1"], "seed at least 0"),
        (["--count", "1", "--size", "4"], "size must be from 16 to 2048 pixels, not 4"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, capsys, arguments, sentence):
    assert main(["toybox", "--out", str(tmp_path / "toys"), *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="holds something already"):
        write_toybox(tmp_path, count=1)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_pictures_and_films_have_the_size_asked_for(tmp_path):
    place = write_toybox(tmp_path / "toys", 1, 3, ("image", "video"), size=48).parent
    assert load_medium(place / "image/000000.png").array.shape == (48, 48, 3)
    assert load_medium(place / "video/000000.mp4").array.shape[1:] == (48, 48, 3)
