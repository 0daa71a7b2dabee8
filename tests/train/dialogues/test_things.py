"""Dialogues about things as rows of a stage: what the encoder reads, exact streams, photographs as features."""

import pytest
import torch

from data.modalities import MODALITIES
from data.parts import VARIABLE
from data.things.dialogues import MediaPart, Photograph, Unknown, dialogue
from data.things.sounds.scenes import caption as sound_caption
from decoders.phrases import SLOTS, embed_captions
from encoders.image_reader import ReaderConfig
from encoders.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from tests.tiny_parts import write_parts
from train.dialogues.embed import embed_media
from train.dialogues.records import read_medium, sources_of
from train.dialogues.simulated import class_names, simulate, simulated_media, simulated_photograph
from train.dialogues.things_records import things_conversations
from train.settings import RecipeError


def parts(conversations, role: str):
    messages = (message for each in conversations for message in each.messages if message["role"] == role)
    return [part for message in messages for part in message["content"] if part["type"] != "text"]


def test_the_stream_is_exact_and_named_by_its_source():
    first, second = (list(things_conversations(5, 12)) for _ in range(2))
    assert first == second and len(first) == 12
    assert {each.source for each in first} == {"things"}
    assert first != list(things_conversations(6, 12))


def test_an_entry_with_a_name_of_its_own_stands_beside_the_world():
    whole, questions = sources_of([{"things": True}, {"things": True, "name": "questions", "kinds": ["ask"]}], "start")
    assert (whole.label, questions.label) == ("things", "questions")
    found = list(things_conversations(5, 3, questions.kinds, ("image",), label=questions.label))
    assert {each.source for each in found} == {"questions"}
    assert len({each.where for each in found}) == 3


@pytest.mark.parametrize(("chinese", "expected"), [(0.0, 0), (0.5, 10), (1.0, 20)])
def test_a_share_is_chinese(chinese, expected):
    found = [str(each.messages[-1]) for each in things_conversations(5, 20, ["request"], chinese=chinese)]
    assert sum(any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in found) == expected


def test_only_what_the_encoder_reads_is_shown_or_comes_in_again():
    found = list(things_conversations(5, 60, modalities=("image",)))
    assert {part["type"] for part in parts(found, "user")} == {"image"}
    made = parts(found, "assistant")
    assert {"image", "audio", "video"} == {part["type"] for part in made}
    assert all((part["embedding"] is not None) == (part["type"] == "image") for part in made)
    for part in parts(found, "user")[:5]:
        array, rate = read_medium(part["part"])
        assert array.shape == (128, 128, 3) and rate is None


def test_media_whose_data_is_not_there_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    found = list(things_conversations(5, 60, modalities=tuple(MODALITIES)))
    assert {part["type"] for part in parts(found, "user")} <= {"image", "video"}
    with pytest.raises(RecipeError, match="too few dialogues of kind where"):
        list(things_conversations(5, 1, kinds=["where"], modalities=("audio",)))


def test_an_entry_of_data_may_name_kinds():
    (source,) = sources_of([{"things": True, "kinds": ["where", "compare"]}], "start")
    assert source.generated and source.label == "things"
    found = list(things_conversations(1, 4, source.kinds, ("image",)))
    assert [each.kind for each in found] == ["where", "compare"] * 2
    with pytest.raises(RecipeError, match="poem"):
        sources_of([{"things": True, "kinds": ["poem"]}], "start")


@pytest.fixture
def encoder(tmp_path, monkeypatch) -> TrunkEncoder:
    write_parts(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    torch.manual_seed(0)
    return TrunkEncoder.from_parts(TrunkEncoderConfig(image=ReaderConfig(width=16, depth=1, heads=2, objects=3))).eval()


def test_a_photograph_becomes_what_the_classifier_would_see(encoder):
    classes = class_names(encoder)
    photograph = Photograph(((classes[2], 0.7), (classes[0], 0.2)), 5)
    tokens = simulated_photograph(encoder, photograph, "patches")
    assert tuple(tokens.shape) == (encoder.patch_counts()["image"], encoder.width)
    assert tokens[0].norm() == pytest.approx(1)
    stated = 0.7 * encoder.class_names[2] + 0.2 * encoder.class_names[0]
    assert torch.cosine_similarity(tokens[1], stated, dim=0) > 0.95
    assert not tokens[2:].any()  # it shows nothing of the world
    assert torch.equal(simulated_photograph(encoder, photograph, "pooled"), tokens[0])
    assert class_names(torch.nn.Identity()) == ()


def test_media_are_simulated_from_their_captions(encoder):
    drawn = [dialogue(3, index, kind="listen") for index in range(30)]
    heard = [part for each in drawn for turn in each.turns for part in turn.media if part.modality == "audio"]
    whole, *phrases = simulated_media(encoder, heard, "patches")[0]
    assert len(phrases) == SLOTS and whole.norm() == pytest.approx(1)
    said = embed_captions([sound_caption(heard[0].content)], encoder.text)[0]
    for phrase, own in zip(phrases, said, strict=True):
        if own.any():
            assert phrase.norm() > 0.79 and torch.cosine_similarity(phrase, own, dim=0) > 0.6
        else:
            assert phrase.norm() <= 0.11
    again = simulated_media(encoder, heard[:1], "pooled")[0]
    assert torch.allclose(again, whole)


def test_an_encoder_without_a_tower_is_trained_on_simulated_media(encoder, monkeypatch, tmp_path):
    monkeypatch.setattr("train.dialogues.embed.CACHE", tmp_path)
    simulate(encoder, ["audio", "points"])
    assert encoder.modalities == ("image", "audio", "points")
    unknown = MediaPart("audio", Unknown(1, 2))
    found, broken = embed_media(encoder, [unknown], "patches")
    assert not broken and tuple(found[unknown].shape) == (1 + SLOTS, encoder.width)
    assert found[unknown][1:].norm(dim=-1).max() <= 0.11


def test_only_tokens_of_an_encoder_over_trunks_are_simulated(tiny_model):
    with pytest.raises(RecipeError, match="tokens of a MediaEncoder cannot be made of captions"):
        simulate(tiny_model.encoder, ["audio"])


def test_photographs_state_classes_of_the_encoder():
    classes = tuple(f"class {number}" for number in range(1000))
    found = [dialogue(2, index, "photograph", classes=classes) for index in range(5)]
    assert all(name in classes for each in found for name, _ in each.turns[0].media[0].content.classes)
