"""Kinds of sound, their captions, and sounds made from a small bank of plain tones."""

import json

import numpy as np
import pytest

from data.things import BankMissing, sounds
from data.things.sounds import kinds
from data.things.sounds.bank import RATE
from tests.tiny_banks import plain_sounds


@pytest.fixture
def plain_bank(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))
    with plain_sounds(tmp_path) as folder:
        yield folder


def scene(kind, **changes):
    return sounds.SoundScene(kind, 0, "", "", "", "", 5).with_(**changes)


def onsets(wave):
    """How often a sound begins anew."""
    power = np.sqrt((wave[: len(wave) // 320 * 320].reshape(-1, 320) ** 2).mean(1))
    rises = np.diff(power, prepend=0) > 0.2 * power.max()
    return int((rises & ~np.roll(rises, 1)).sum())  # a rise over two windows is one


def test_kinds_are_many_and_their_names_belong_to_one_each():
    assert len(kinds()) >= 60
    for language in ("en", "zh"):
        names = [name for kind in kinds().values() for name in kind.names[language]]
        assert len(set(names)) == len(names)
    for kind in kinds().values():
        assert kind.does or kind.form in ("notes", "steady")
        assert kind.range[0] + 18 <= kind.range[1] or kind.form != "notes" or kind.name == "kettledrum"


def test_captions():
    said = sounds.caption
    assert said(scene("piano", count=3, pitch="high", loudness="loud")) == "three high notes on a piano, loud"
    assert said(scene("violin", pitch="low", pace="slow")) == "a violin, slow and low"
    assert said(scene("oboe", count=1, touch="long")) == "a long note on an oboe"
    assert said(scene("choir", count=2, pace="slow", loudness="soft")) == "two notes by a choir, slow and soft"
    assert said(scene("dog", count=2)) == "a dog that barks twice"
    assert said(scene("telephone")) == "a ringing telephone"
    assert said(scene("rain", loudness="soft")) == "some falling rain, soft"
    assert said(scene("snare drum", count=3, pace="quick")) == "a snare drum that is hit three times, quick"
    assert said(scene("cat", count=1), lambda kind: "kitten") == "a kitten that meows once"


def test_scenes_say_only_what_can_be_heard():
    found = [sounds.sample(1, index) for index in range(400)]
    assert found[7] == sounds.sample(1, 7)
    for each in found:
        kind = kinds()[each.kind]
        assert each.touch == "" or (kind.held and each.count)
        assert each.pitch == "" or kind.form == "notes"
        assert not (each.count == 1 and each.pace)
    assert {each.count for each in found} == {0, 1, 2, 3, 4, 5}
    assert sounds.sample(1, 2, "harp").kind == "harp"


def test_as_many_notes_are_heard_as_the_scene_has(plain_bank):
    for count in (1, 2, 3, 4, 5):
        for pace in ("slow", "", "quick"):
            wave = sounds.render_sound(scene("piano", count=count, pace=pace, jitter=count))
            assert wave.shape == (round(sounds.SECONDS * RATE),) and wave.dtype == np.float32
            assert onsets(wave) == count
    assert onsets(sounds.render_sound(scene("snare drum", count=4))) == 4
    assert onsets(sounds.render_sound(scene("dog", count=3))) == 3


def test_pitch_pace_and_loudness_are_heard(plain_bank):
    def crossings(wave):
        return (np.diff(np.sign(wave[:3000])) != 0).sum()

    low, middle, high = (sounds.render_sound(scene("harp", count=1, pitch=pitch)) for pitch in ("low", "", "high"))
    assert crossings(low) < crossings(middle) < crossings(high)
    peaks = {name: np.abs(sounds.render_sound(scene("harp", loudness=name))).max() for name in ("soft", "", "loud")}
    assert 2 * peaks["soft"] < peaks[""] < peaks["loud"] / 2 <= 0.5
    slow, quick = (np.abs(sounds.render_sound(scene("piano", count=5, pace=pace))) for pace in ("slow", "quick"))
    assert slow[RATE * 2 :].max() > 0.3 * slow.max() and quick[round(RATE * 1.8) :].max() < 0.2 * quick.max()


def test_every_kind_is_rendered_and_the_same_each_time(plain_bank):
    for index, kind in enumerate(kinds()):
        drawn = sounds.sample(2, index, kind)
        wave = sounds.render_sound(drawn)
        assert np.isfinite(wave).all() and 0.005 < np.abs(wave).max() <= 1
    assert np.array_equal(wave, sounds.render_sound(drawn))


def test_a_missing_bank_and_one_of_other_kinds_are_said(plain_bank, tmp_path, monkeypatch):
    rows = json.loads((plain_bank / "recordings.json").read_text())
    (plain_bank / "recordings.json").write_text(json.dumps([row for row in rows if row["kind"] != "harp"]))
    with pytest.raises(BankMissing, match="before there was a harp"):
        sounds.render_sound(scene("piano"))
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path / "empty"))
    with pytest.raises(BankMissing, match=r"instruments .* not in .*data\.things\.fetch sounds` \(120 MB"):
        sounds.render_sound(scene("piano"))
