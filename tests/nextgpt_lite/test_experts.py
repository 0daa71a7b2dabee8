"""Experts: real models at tiny size from local folders, full-text search, and their words in a conversation."""

import numpy as np
import pytest
import torch

from nextgpt_lite.experts import (
    Captioner,
    Detector,
    ExpertError,
    Experts,
    SearchExpert,
    TextReader,
    load_experts,
)
from nextgpt_lite.experts.base import MAX_CONTEXT_CHARACTERS
from nextgpt_lite.experts.vision import image_of
from tests.tiny_model import medium, saying

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "a", "red", "bell", "in", "the", "snow", "two", "dogs"]


@pytest.fixture(scope="module")
def captioner_folder(tmp_path_factory):
    """A BLIP of one block, random weights, whose text decoder knows a dozen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("captioner")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        bos_token="[DEC]",
    )  # fmt: skip
    block = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": len(WORDS),
        "encoder_hidden_size": 16,
        "bos_token_id": 4,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    config = BlipConfig(
        text_config={**block, **text}, vision_config={**block, "image_size": 16, "patch_size": 8}, projection_dim=8
    )
    size = {"height": 16, "width": 16}
    model = BlipForConditionalGeneration(config).eval()
    with torch.no_grad():  # words win over special tokens, so that there is something to read
        model.text_decoder.get_output_embeddings().bias[5:] += 10.0
    model.save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size=size), fast).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory):
    """A YOLOS of one block with three kinds of things."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("detector")
    config = YolosConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=[32, 32],
        patch_size=8, num_detection_tokens=4, id2label={0: "bell", 1: "dog", 2: "boat"},
    )  # fmt: skip
    YolosForObjectDetection(config).eval().save_pretrained(folder)
    YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "name"), [(Captioner, "the picture shows"), (TextReader, "text in the picture")])
def test_an_image_to_text_model_writes_words(captioner_folder, kind, name):
    expert = kind(captioner_folder, max_new_tokens=6)
    first = expert.context(medium("image"))
    assert first and set(first.split()) <= set(WORDS)
    assert expert.context(medium("image")) == first and expert.name == name
    assert expert.context(medium("video"))  # its middle frame


def test_a_detector_counts_what_it_finds(detector_folder):
    expert = Detector(detector_folder, threshold=0.0)
    found = expert.context(medium("image"))
    counts = [int(item.partition(" x ")[0]) if " x " in item else 1 for item in found.split(", ")]
    assert sum(counts) == 4, "one for each detection token"
    assert {item.rpartition(" ")[2] for item in found.split(", ")} <= {"bell", "dog", "boat"}
    assert Detector(detector_folder, threshold=1.0).context(medium("image")) == ""


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("The lighthouse keeper is called Marta.\n\nBells are cast in bronze.")
    (folder / "b.md").write_text("Ferries leave at noon.")
    return folder


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is the keeper of the lighthouse?", "The lighthouse keeper is called Marta."),
        ("When does the ferry leave?", "Ferries leave at noon."),
        ('"bronze" AND (', "Bells are cast in bronze."),
        ("Is it so?", ""),
        ("quantum chromodynamics", ""),
    ],
)
def test_search_finds_the_paragraph(notes, question, answer):
    assert SearchExpert(notes).context({"type": "text", "text": question}) == answer


class Counting:
    """An expert of the protocol that counts how often it is asked."""

    name, reads = "size", ("image",)

    def __init__(self):
        self.asked = 0

    def context(self, part):
        self.asked += 1
        return f"{part['array'].shape[0]}  pixels\nhigh"


def test_words_stand_in_front_of_the_text_and_are_remembered():
    expert = Counting()
    experts = Experts([expert])
    shown = {"type": "image", "array": np.zeros((7, 5, 3), np.uint8)}
    talk = [{"role": "user", "content": [shown, {"type": "text", "text": "What is it?"}]}]
    told = experts.add_context(talk)
    assert told[0]["content"] == [shown, {"type": "text", "text": "[size: 7 pixels high]\nWhat is it?"}]
    assert talk[0]["content"][1]["text"] == "What is it?", "the messages given stay as they are"
    later = [*talk, {"role": "assistant", "content": [shown]}, {"role": "user", "content": "And now?"}]
    again = experts.add_context(later)
    assert again[0] == told[0] and again[1:] == [
        later[1],
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]
    assert expert.asked == 1, "each medium is looked at once, however long the talk"
    other = {"type": "image", "array": np.zeros((9, 5, 3), np.uint8)}
    alone = experts.add_context([{"role": "user", "content": [other]}])
    assert alone[0]["content"][-1]["text"] == "[size: 9 pixels high]" and expert.asked == 2


def test_what_is_long_is_cut_and_what_is_not_at_hand_is_left_alone():
    class Chatty:
        name, reads = "says", ("image",)

        def context(self, part):
            return "word " * 500

    experts = Experts([Chatty()])
    [told] = experts.add_context([{"role": "user", "content": [medium("image")]}])
    assert len(told["content"][-1]["text"]) <= MAX_CONTEXT_CHARACTERS + len("[says: ]")
    known = [{"role": "user", "content": [{"type": "image", "embedding": [1.0]}]}]
    assert experts.add_context(known) == known
    broken = [["word"], [{"type": "text"}], [{"type": "text", "text": "\ud83d"}], [{}], 3]
    broken = [{"role": "user", "content": content} for content in broken]
    assert experts.add_context([*broken, "hello"]) == [*broken, "hello"]


def test_a_chat_of_several_turns_with_experts(tiny_model, notes, detector_folder):
    experts = Experts([Detector(detector_folder, threshold=0.0), SearchExpert(notes)])
    question = {"type": "text", "text": "Who is the keeper of the lighthouse?"}
    talk = [{"role": "user", "content": [medium("image"), question]}]
    told = experts.add_context(talk)
    with saying(tiny_model, [told], [()]):
        reply = tiny_model.chat(talk, experts=experts)
    assert reply.text == "Here.", "the model was asked with the experts' words: only then it says this"
    ids, _, _ = tiny_model.prepare(told)
    text = tiny_model.tokenizer.decode(ids)
    assert "marta" in text and "found in the picture" in text
    talk += [reply.as_message(), {"role": "user", "content": "When do ferries leave?"}]
    ids, media, dropped = tiny_model.prepare(experts.add_context(talk))
    text = tiny_model.tokenizer.decode(ids)
    assert text.index("marta") < text.index("ferries leave at noon") and len(media) == 1 and dropped == 0


def test_choices_of_the_command_line(notes, tmp_path):
    [expert] = load_experts([f"search={notes}"]).experts
    assert isinstance(expert, SearchExpert)
    with pytest.raises(ExpertError, match="unknown expert 'smell': expected NAME=FOLDER with one of caption, ocr"):
        load_experts(["smell=here"])
    with pytest.raises(ExpertError, match="expert ocr: there is no folder 'nowhere'"):
        load_experts(["ocr=nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExpertError, match="holds nothing to search"):
        load_experts([f"search={tmp_path / 'empty'}"])


def test_the_image_of_a_part():
    frames = np.stack([np.full((4, 4, 3), i, np.uint8) for i in range(5)])
    assert np.asarray(image_of({"type": "video", "array": frames}))[0, 0].tolist() == [2, 2, 2]
    assert image_of({"type": "image", "array": np.zeros((4, 6), np.uint8)}).mode == "RGB"
