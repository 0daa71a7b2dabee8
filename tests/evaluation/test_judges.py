"""Judged replies: which cell a question counts under, what counts as right; judges on disk."""

import numpy as np
import pytest
import torch

from evaluation.judges import Judge, JudgeNetwork, load_judges, prepare
from evaluation.own_data import Answer, Question, cell_of, evenly_spread, judge_replies, measure, right_by_judges
from evaluation.statistics import Tally
from nextgpt_lite import Reply
from nextgpt_lite.any_to_any import ReplyMedium

CLASSES = ("dark", "light")


def brightness_judge() -> Judge:
    """A judge of images that is trained to tell dark from light."""
    torch.manual_seed(0)
    network = JudgeNetwork("image", 2, width=4)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(30):
        labels = rng.integers(2, size=16)
        images = [rng.integers(170 * label, 80 + 170 * label, (20, 24, 3)).astype(np.uint8) for label in labels]
        network(prepare("image", images), torch.from_numpy(labels))["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
    return Judge(network, "shade", CLASSES)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return brightness_judge()


def message(role, *types):
    return {"role": role, "content": [{"type": kind} for kind in types]}


def painted(value: int) -> Reply:
    return Reply("Here.", [ReplyMedium("image", np.full((64, 64, 3), value, np.uint8), None, 4, 0.1)])


def test_cells_are_named_by_what_was_shown_and_asked_for():
    asked = [message("user", "text", "audio")]
    assert cell_of(asked, ["image"]) == "audio->image"
    assert cell_of([message("user", "text")], []) == "text->text"
    assert cell_of([*asked, message("assistant", "image"), message("user", "text")], []) == "audio->text"


def test_words_count_when_they_name_the_truth_alone(judge):
    assert judge.says("This is Light.", "light")
    assert not judge.says("This is light, or dark.", "light")
    assert not judge.says("This is lightning.", "light")
    assert not judge.says("This is not light.", "light") and judge.says("Not dark, but light.", "light")


def test_replies_are_judged_by_cell(judge):
    def answer(requested, attributes, reply):
        media = [{"type": kind} for kind in requested]
        return Answer(Question([message("user", "text")], "", media, attributes), reply)

    answers = [
        answer(["image"], {"shade": "light"}, painted(250)),
        answer(["image"], {"shade": "light"}, painted(5)),
        answer(["image"], {"shade": "dark"}, Reply("No image came.")),
        answer([], {"shade": "dark"}, Reply("It is dark.")),
        answer(["audio"], {"shade": "dark"}, painted(5)),  # no judge of audio
        answer(["image"], {"colour": "red"}, painted(5)),  # not what is judged
    ]
    for each in answers:
        each.judged = right_by_judges(each, {"image": judge})
    assert judge_replies(answers) == {"text->image": Tally(1, 3), "text->text": Tally(1, 1)}
    figures = measure(answers)
    assert figures["judged"]["text->image"] == {"right": 1 / 3, "count": 3}
    assert figures["intervals"]["judged.text->image.right"] == Tally(1, 3).interval
    assert figures["n"]["judged.text->text.right"] == 1


def test_a_judge_comes_back_from_disk(judge, tmp_path):
    judge.save_pretrained(tmp_path)
    [(modality, again)] = load_judges(tmp_path).items()
    assert (modality, again.attribute, again.classes) == ("image", "shade", CLASSES)
    images = [np.full((30, 30, 3), value, np.uint8) for value in (0, 250)]
    assert again.predict(images) == judge.predict(images) == ["dark", "light"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.json", "image.safetensors"]


def test_judges_that_do_not_fit_are_refused(judge, tmp_path):
    with pytest.raises(ValueError, match="train the recipes judge_image and judge_audio"):
        load_judges(tmp_path)
    judge.save_pretrained(tmp_path)
    Judge(JudgeNetwork("audio", 3, width=4), "sound", ("a", "b", "c")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="judge different things: image: shade of 2; audio: sound of 3"):
        load_judges(tmp_path)
    (tmp_path / "audio.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"the judge of audio in .* cannot be read"):
        load_judges(tmp_path)


def test_audio_of_any_length_is_read():
    waves = [np.zeros(500, np.float32), np.zeros(40_000, np.float32)]
    assert prepare("audio", waves).shape == (2, 1, 64, 128)


def test_records_are_taken_at_even_distances():
    assert evenly_spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert evenly_spread([1, 2], 5) == [1, 2]
