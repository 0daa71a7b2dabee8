"""The expert on what the model's own encoder reads, and the experts that a model's manifest names."""

import numpy as np
import pytest

from data.parts import VARIABLE
from data.strict import SettingsError
from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.checkpoint import CheckpointError, read_manifest, update_manifest, write_manifest
from nextgpt_lite.experts import Experts, ReadingExpert
from tests.tiny_encoder import encoder_of_red_dogs
from tests.tiny_model import build_tiny_model

IMAGE = {"type": "image", "array": np.zeros((40, 40, 3), np.uint8)}


@pytest.fixture
def reading(tmp_path, monkeypatch) -> ReadingExpert:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    encoder = encoder_of_red_dogs(tmp_path)
    return ReadingExpert(lambda: encoder)


def words(experts: Experts, *parts) -> str:
    (message,) = experts.add_context([{"role": "user", "content": list(parts)}])
    return "\n".join(part["text"] for part in message["content"] if part["type"] == "text")


def test_words_come_in_the_language_of_the_message(reading):
    experts = Experts([reading])
    assert words(experts, IMAGE, {"type": "text", "text": "What is it?"}).startswith("[image 1: 3 things: 3 x red dog")
    assert (
        words(experts, {"type": "text", "text": "这是什么？"}, IMAGE)
        .splitlines()[1]
        .startswith("[image 1: 3个：3 x 红色的 狗")
    )
    assert words(experts, IMAGE).startswith("[image 1: 3 things: 3 x red dog")


def test_media_are_numbered_by_type_over_the_conversation(reading):
    messages = [
        {"role": "user", "content": [IMAGE, IMAGE, {"type": "text", "text": "Look."}]},
        {"role": "assistant", "content": [IMAGE]},
        {"role": "user", "content": [IMAGE]},
    ]
    first, made, second = Experts([reading]).add_context(messages)
    assert [line.partition(":")[0] for line in first["content"][-1]["text"].splitlines()] == [
        "[image 1",
        "[image 2",
        "Look.",
    ]
    assert made == messages[1]
    assert second["content"][-1]["text"].startswith("[image 3: ")


def test_what_cannot_be_read_has_no_words(reading):
    flat = {"type": "image", "array": np.zeros((40,), np.uint8)}
    assert words(Experts([reading]), flat, {"type": "text", "text": "And this?"}) == "And this?"
    film = {"type": "video", "array": np.zeros((2, 40, 40, 3), np.uint8), "rate": 4.0}
    assert words(Experts([reading]), film, {"type": "text", "text": "And this?"}) == "And this?"


def test_a_model_has_the_experts_that_its_manifest_names(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "empty"))  # Whisper has not been fetched
    folder = tmp_path / "model"
    build_tiny_model(folder)
    assert AnyToAny.from_pretrained(folder).experts is None
    write_manifest(folder, "tiny", experts=["reading", "hear"])
    update_manifest(folder)
    assert read_manifest(folder)["experts"] == ["reading", "hear"]
    model = AnyToAny.from_pretrained(folder)
    assert model.experts and [type(each) for each in model.experts.experts] == [ReadingExpert]
    shown = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What is it?"}]}]
    assert model.chat(shown, max_new_tokens=2, allowed_media=())  # this encoder has no words


def test_an_unknown_expert_in_a_manifest_is_refused(tmp_path):
    build_tiny_model(tmp_path / "model")
    write_manifest(tmp_path / "model", "tiny", experts=["reading", "smell"])
    with pytest.raises((CheckpointError, SettingsError), match=r"experts.*'smell'"):
        read_manifest(tmp_path / "model")
