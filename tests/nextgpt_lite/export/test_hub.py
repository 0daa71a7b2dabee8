"""The composed model in Transformers: Auto classes, processor, pipeline, saved and loaded, by an id of a local hub."""

import shutil
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor, pipeline

from nextgpt_lite import AnyToAny
from nextgpt_lite.chat_template import ConversationError
from nextgpt_lite.checkpoint import WEIGHTS, model_hash
from nextgpt_lite.hub import AnyToAnyForMultimodalLM, AnyToAnyProcessor
from nextgpt_lite.hub.modeling import DOWNLOADED
from tests.tiny_model import medium, saying

PICTURE = np.full((40, 50, 3), (200, 30, 30), np.uint8)


@pytest.fixture(scope="module")
def saved(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    AnyToAnyForMultimodalLM.from_pretrained(tiny_folder).save_pretrained(folder)
    return folder


def messages(picture) -> list[dict]:
    return [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "What?"}]}]


def test_saved_and_loaded(tiny_folder, saved):
    config = AutoConfig.from_pretrained(saved)
    assert (config.model_type, config.makes) == ("nextgpt_lite_model", ["image", "video", "audio"])
    model = AutoModelForMultimodalLM.from_pretrained(saved)
    assert type(model) is AnyToAnyForMultimodalLM
    assert model.whole.hash == AnyToAny.from_pretrained(tiny_folder).hash == model_hash(model.whole.manifest)
    card = (saved / "README.md").read_text()
    assert "pipeline_tag: any-to-any" in card and "`image_decoder/`" in card
    again = saved.with_name("again")
    model.save_pretrained(again)
    assert AnyToAnyForMultimodalLM.from_pretrained(again).whole.hash == model.whole.hash
    (again.parent / "other").mkdir()
    (again.parent / "other/mine").write_text("mine")
    with pytest.raises(ValueError, match="holds something already"):
        model.save_pretrained(again.parent / "other")


def test_the_processor_reads_files_images_and_arrays(saved, tmp_path):
    processor = AutoProcessor.from_pretrained(saved)
    assert type(processor) is AnyToAnyProcessor
    Image.fromarray(PICTURE).save(tmp_path / "picture.png")
    given = [str(tmp_path / "picture.png"), Image.fromarray(PICTURE), PICTURE]
    found = [processor.apply_chat_template(messages(each)) for each in given]
    assert len({tuple(each["input_ids"][0].tolist()) for each in found}) == 1
    assert all(np.array_equal(each["media"][0][0]["array"], PICTURE) for each in found)
    both = processor.apply_chat_template([messages(PICTURE), [{"role": "user", "content": "a longer question here"}]])
    assert both["input_ids"].shape == both["attention_mask"].shape
    assert torch.equal(both["input_ids"][0][both["attention_mask"][0].bool()], found[0]["input_ids"][0])


def test_lists_of_media(saved):
    """One text takes all of a list, of several each its own; frames of a video are one medium."""
    processor, image = AutoProcessor.from_pretrained(saved), Image.fromarray(PICTURE)

    def read(texts, **given):
        return [[part["array"].shape for part in row] for row in processor(text=texts, **given)["media"]]

    one, words = PICTURE.shape, ["What?", "And this?"]
    assert read("What?", images=[image]) == read(["What?"], images=[[image]]) == [[one]]
    assert read("What?", images=[image, PICTURE]) == [[one, one]]
    assert read("What?", videos=[image, image]) == [[(2, *one)]]
    assert read("What?", audio=[0.0] * 9) == [[(9,)]]
    assert read(words, images=image) == read(words, images=[image, [image]]) == [[one], [one]]
    assert read(words, images=[image, None]) == [[one], []]
    with pytest.raises(ConversationError, match="2 texts with a list of 1 for their image: expected one for each"):
        read(words, images=[image])


@pytest.mark.parametrize(
    ("conversation", "words"),
    [
        ("hello", "a list of messages, each a dict, not 'hello'"),
        ({"role": "user", "content": "hello"}, "a list of messages, each a dict, not"),
        (["hello"], "a list of messages, each a dict, not"),
        ([{"role": "user", "content": ["hello"]}], "content must be a string or a list of parts"),
        ([{"role": "user", "content": 5}], "content must be a string or a list of parts"),
        ([{"role": "user", "content": [{"type": "image"}]}], "a part of type 'image' holds no medium: expected array"),
    ],
)
def test_what_is_no_conversation(conversation, words, saved):
    with pytest.raises(ConversationError, match=words):
        AutoProcessor.from_pretrained(saved).apply_chat_template(conversation)


def test_all_files_of_a_model_are_downloaded():
    files = [path.name for path in WEIGHTS.rglob("*") if path.is_file()]
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in DOWNLOADED)] == []


def test_the_pipeline_answers_as_chat_does(tiny_folder, saved):
    pipe = pipeline("any-to-any", model=str(saved))
    [answer] = pipe(text=messages(PICTURE), max_new_tokens=6, return_full_text=False)
    part = {"type": "image", "array": PICTURE}
    talk = [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]
    assert answer["generated_text"] == AnyToAny.from_pretrained(tiny_folder).chat(talk, max_new_tokens=6).text


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_media_are_generated(modality, saved):
    model, processor = AnyToAnyForMultimodalLM.from_pretrained(saved), AutoProcessor.from_pretrained(saved)
    talk = [{"role": "user", "content": [medium("image"), {"type": "text", "text": "make one"}]}]
    with saying(model.whole, [talk], [[modality]]):
        [made] = model.generate(**processor.apply_chat_template(talk), generation_mode=modality, max_new_tokens=40)
        expected = model.whole.chat(talk, max_new_tokens=40).media
    assert len(made) == 1 and np.array_equal(made[0], expected[0].array)
    shown = processor.post_process_multimodal_output([made], generation_mode=modality)
    assert isinstance(shown[0][0], Image.Image if modality == "image" else np.ndarray)


def test_an_id_of_a_local_hub(saved, tmp_path):
    """The layout in which huggingface_hub keeps what it has downloaded."""
    snapshot = tmp_path / "models--somebody--tiny/snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(saved, snapshot)
    (tmp_path / "models--somebody--tiny/refs").mkdir()
    (tmp_path / "models--somebody--tiny/refs/main").write_text(snapshot.name)
    place = {"cache_dir": str(tmp_path), "local_files_only": True}
    model = AutoModelForMultimodalLM.from_pretrained("somebody/tiny", **place)
    processor = AutoProcessor.from_pretrained("somebody/tiny", **place)
    [ids] = model.generate(**processor.apply_chat_template([{"role": "user", "content": "hi"}]), max_new_tokens=3)
    assert len(ids) > 3
