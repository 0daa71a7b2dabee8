"""Readers of published data sets: small files of exactly their layouts in, records with media at their places out."""

import csv
import json

import pytest

from data.formats import FORMATS, reader
from data.manifest import FormatError


def write_json(folder, entries, name="train.json"):
    path = folder / name
    path.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    return path


def write_table(folder, rows, delimiter=","):
    path = folder / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def records(name, source, **options):
    found = list(reader(name)(source, **options))
    assert [one.problem for one in found if one.problem] == []
    return [one.record or {} for one in found]


def problem(name, source, **options):
    [one] = list(reader(name)(source, **options))
    assert one.record is None
    return one.problem


def summary(message):
    """A message in short: words as they are, media as <modality path caption>."""
    parts = []
    for part in message["content"]:
        shown = (part["type"], part.get("path"), part.get("caption"))
        parts.append(part["text"] if part["type"] == "text" else f"<{' '.join(filter(None, shown))}>")
    return f"{message['role']}: " + " | ".join(parts)


def summaries(record):
    return [summary(message) for message in record["messages"]]


def human(value, **more):
    return {"from": "human", "value": value, **more}


def gpt(value, **more):
    return {"from": "gpt", "value": value, **more}


def test_llava_puts_the_picture_where_the_text_says(tmp_path):
    turns = [human("<image>\nWhat is it?"), gpt("A bell."), human("Sure?"), gpt("Yes.")]
    with_two = {"image": ["a.jpg", "b.jpg"], "conversations": [human("Is <image> like <image>?"), gpt("No.")]}
    words = {"id": "7", "conversations": [human("Hello"), gpt("Hi <b>there</b>")]}
    source = write_json(tmp_path, [{"id": "1", "image": "coco/a.jpg", "conversations": turns}, with_two, words])
    one, two, three = records("llava", source)
    assert summaries(one) == [
        "user: <image coco/a.jpg> | What is it?",
        "assistant: A bell.",
        "user: Sure?",
        "assistant: Yes.",
    ]
    assert summaries(two)[0] == "user: Is | <image a.jpg> | like | <image b.jpg> | ?"
    assert summaries(three) == ["user: Hello", "assistant: Hi <b>there</b>"]
    assert one["meta"] == {"id": "1"} and two["meta"] == {}


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"image": "a", "conversations": [human("<image> <image>"), gpt("b")]}, "a placeholder <image> without a"),
        ({"image": "a.jpg", "conversations": [human("What?"), gpt("A bell.")]}, "'a.jpg' has no placeholder <image>"),
        ({"conversations": [{"from": "robot", "value": "hi"}]}, "unknown role 'robot'; known are human"),
        ({"conversations": [human("a"), human("b"), gpt("c")]}, "two turns of 'human' in a row"),
        ({"conversations": [human("a"), {"from": "system", "value": "b"}]}, "'system' that is not the first"),
        ({"conversations": []}, 'a list "conversations" of turns, not []'),
        ({"conversations": [{"from": "human"}]}, 'a turn needs "from" and a text "value"'),
        ({"image": 3, "conversations": [human("<image>"), gpt("c")]}, "the name of image must be text, not 3"),
        ("a string", "expected an object"),
    ],
)  # fmt: skip
def test_a_conversation_that_cannot_be_used_says_why(tmp_path, entry, sentence):
    assert sentence in problem("llava", write_json(tmp_path, [entry]))


def test_every_record_is_named_by_its_place(tmp_path):
    good = {"conversations": [human("Hello"), gpt("Hi")]}
    source = tmp_path / "train.json"
    source.write_text(f"[\n{json.dumps(good)},\n\n  {json.dumps([])},\n{json.dumps({'id': 'x', **good})}]\n")
    places = [(located.where, bool(located.record)) for located in reader("llava")(source)]
    names = ["line 2, record 1", "line 4, record 2", 'line 5, record 3, id "x"']
    assert places == [(f"{source}, {name}", good) for name, good in zip(names, (True, False, True), strict=True)]
    lines = tmp_path / "train.jsonl"
    lines.write_text(f"{json.dumps(good)}\n{{oops\n{json.dumps(good)}\n")
    found = list(reader("llava")(lines))
    assert [located.where for located in found] == [f"{lines}, line {n}" for n in (1, 2, 3)]
    assert "not JSON" in found[1].problem


def test_a_broken_array_is_refused_with_its_line(tmp_path):
    source = tmp_path / "train.json"
    source.write_text('[\n{"conversations": []},\n{"conversations": [}\n]')
    with pytest.raises(FormatError, match=r"train\.json, line 3, record 2: not JSON"):
        list(reader("sharegpt")(source))
    source.write_text('[{"a": 1}] [{"a": 2}]')
    with pytest.raises(FormatError, match="more after the end of the list"):
        list(reader("sharegpt")(source))
    source.write_text("[" * 200_000)
    with pytest.raises(FormatError, match="record 1: not JSON"):
        list(reader("sharegpt")(source))
    source.write_text('[\n{"a": 1}\n{"a": 2}]')
    with pytest.raises(FormatError, match="line 3: expected , or ]"):
        list(reader("sharegpt")(source))
    with pytest.raises(FormatError, match="cannot be read"):
        list(reader("sharegpt")(tmp_path / "none.json"))


def test_nextgpt_encoding_and_decoding(tmp_path):
    enc = {"input_audio": "a.wav", "conversations": [human("<audio>\nWhat is heard?"), gpt("A train.")]}
    dec = {
        "output_audio": "a.wav", "audio_captions": "a train", "audio_caption_embeddings": "a.wav.npy",
        "conversations": [human("play me a train"), gpt("Here is a audio <audio>")],
    }  # fmt: skip
    [record] = records("nextgpt_encoding", write_json(tmp_path, [enc]))
    assert summaries(record) == ["user: <audio a.wav> | What is heard?", "assistant: A train."]
    [record] = records("nextgpt_decoding", write_json(tmp_path, [dec]))
    assert summaries(record) == ["user: play me a train", "assistant: Here is a audio | <audio a.wav a train>"]
    assert "output_image" in problem("nextgpt_decoding", write_json(tmp_path, [enc]))
    del dec["audio_captions"]
    assert '"audio_captions" must be text' in problem("nextgpt_decoding", write_json(tmp_path, [dec]))


def test_nextgpt_t2m_has_captions_and_no_files(tmp_path):
    asked = human("I need a wolf.", input_modality="text")
    new = gpt("Here. <image>", caption="gray wolf", output_modality="image")
    old = gpt("Listen.", caption="rain", output_modality="audio")
    entries = [{"image_captions": ["gray wolf"], "conversations": [asked, new]}, {"conversations": [asked, old]}]
    one, two = records("nextgpt_t2m", write_json(tmp_path, entries))
    assert summaries(one)[1] == "assistant: Here. | <image gray wolf>"
    assert summaries(two)[1] == "assistant: Listen. | <audio rain>"
    wrong = [{"conversations": [asked, gpt("Here.", caption="x", output_modality="smell")]}]
    assert "unknown output_modality 'smell'" in problem("nextgpt_t2m", write_json(tmp_path, wrong))
    wrong = [{"conversations": [asked, gpt("Here. <image>", caption=" ", output_modality="image")]}]
    assert '"caption" is empty' in problem("nextgpt_t2m", write_json(tmp_path, wrong))


def test_nextgpt_mosit_keeps_the_media_of_both_sides(tmp_path):
    entry = {
        "image_list": [{"image_name": "d.jpg", "caption": "a dolphin"}, {"image_name": "e.jpg", "caption": "a sea"}],
        "video_list": [],
        "audio_list": [{"audio_name": "f.wav", "caption": "clicks"}],
        "conversation": [
            human("Dolphins! <Image>An image of a dolphin</Image>"), gpt("They sound so: <audio> "),
            human("And the sea?"), gpt("Look: <image> Nice?"),
        ],
    }  # fmt: skip
    [record] = records("nextgpt_mosit", write_json(tmp_path, [entry]))
    assert summaries(record) == [
        "user: Dolphins! | <image d.jpg>", "assistant: They sound so: | <audio f.wav clicks>",
        "user: And the sea?", "assistant: Look: | <image e.jpg a sea> | Nice?",
    ]  # fmt: skip
    entry["audio_list"] = []
    assert "a placeholder <audio> without a medium" in problem("nextgpt_mosit", write_json(tmp_path, [entry]))


def test_instructions_in_words_alone(tmp_path):
    entries = [
        {"instruction": "Add.", "input": "2 and 3", "output": "5"},
        {"instruction": "Greet.", "input": "", "output": "Hello <image>"},
    ]
    one, two = records("alpaca", write_json(tmp_path, entries))
    assert summaries(one) == ["user: Add.\n\n2 and 3", "assistant: 5"]
    assert summaries(two) == ["user: Greet.", "assistant: Hello <image>"]
    assert problem("alpaca", write_json(tmp_path, [{"instruction": "Add.", "output": " "}])) == '"output" is empty'
    long = {"instruction": "Below is a paper. " * 2000, "output": "It is good.", "file": "paper.txt"}
    [record] = records("longalpaca", write_json(tmp_path, [long]))
    assert record["meta"] == {"file": "paper.txt"} and len(record["messages"][0]["content"][0]["text"]) > 30_000


def test_sharegpt_drops_a_reply_to_nothing_and_has_no_placeholders(tmp_path):
    turns = [{"from": "system", "value": "Be kind."}, gpt("I am here."), human("What is <image>?"), gpt("A tag.")]
    [record] = records("sharegpt", write_json(tmp_path, [{"id": "x", "conversations": turns}]))
    assert summaries(record) == ["system: Be kind.", "user: What is <image>?", "assistant: A tag."]


def test_coco_captions_in_both_directions(tmp_path):
    stored = {
        "images": [{"id": 9, "file_name": "000009.jpg"}],
        "annotations": [
            {"image_id": 9, "id": 1, "caption": "A meal\n on a tray. "},
            {"image_id": 9, "id": 2, "caption": "Food."},
        ],
    }
    source = write_json(tmp_path, stored)
    first, second = records("coco_captions", source)
    assert (
        summaries(first)[0].startswith("user: <image 000009.jpg> | ")
        and summaries(first)[1] == "assistant: A meal on a tray."
    )
    assert second["meta"] == {"image_id": 9, "id": 2}
    made, _ = records("coco_captions", source, task="make")
    assert summaries(made)[0].endswith("A meal on a tray.") and summaries(made)[1].endswith(
        "<image 000009.jpg A meal on a tray.>"
    )
    with pytest.raises(ValueError, match="unknown task 'draw' of captions: expected one of tell, make"):
        records("coco_captions", source, task="draw")
    stored["annotations"] = [{"image_id": 8, "caption": "x"}]
    assert problem("coco_captions", write_json(tmp_path, stored)) == "image_id 8 is not among the images"
    with pytest.raises(FormatError, match='a list "images"'):
        records("coco_captions", write_json(tmp_path, {"annotations": []}))


def test_cc3m_finds_what_img2dataset_has_written(tmp_path):
    source = write_table(tmp_path, [["a dog", "http://a/0"], ["a cat", "http://a/1"], ["a cow"]], delimiter="\t")
    (tmp_path / "00000").mkdir()
    for key, address in (("000000000", "http://a/0"), ("000000001", "http://b/other")):
        (tmp_path / "00000" / f"{key}.jpg").write_bytes(b"picture")
        (tmp_path / "00000" / f"{key}.json").write_text(json.dumps({"url": address}))
    good, other, short = reader("cc3m")(source)
    assert summaries(good.record)[0].startswith("user: <image 00000/000000000.jpg> | ")
    assert summaries(good.record)[1] == "assistant: a dog"
    assert other.problem == "00000/000000001.jpg was downloaded from http://b/other, this row is of http://a/1"
    assert short.problem == "1 columns, expected 2: caption, url" and short.where == f"{source}, line 3"


def test_webvid_and_audiocaps_find_their_files(tmp_path):
    (tmp_path / "012_013").mkdir()
    (tmp_path / "012_013/77.mp4").write_bytes(b"film")
    columns = ["videoid", "contentUrl", "duration", "page_dir", "name"]
    rows = [
        columns,
        ["77", "http://v", "PT1S", "012_013", "A boat,\nat sea"],
        ["78", "http://v", "PT1S", "012_013", "x"],
    ]
    there, gone = reader("webvid")(write_table(tmp_path, rows))
    assert summaries(there.record)[1] == "assistant: A boat, at sea"
    assert "there is no file 012_013/78" in gone.problem and gone.where.endswith("line 4")
    rows = [
        ["audiocap_id", "youtube_id", "start_time", "caption"],
        ["5", "abc", "30", "rain"],
        ["6", "abc", "30", "rain falls"],
    ]
    (tmp_path / "Yabc.flac").write_bytes(b"sound")
    (tmp_path / "6.wav").write_bytes(b"sound")
    by_video, by_number = records("audiocaps", write_table(tmp_path, rows), media=tmp_path)
    assert "<audio Yabc.flac>" in summaries(by_video)[0] and "<audio 6.wav>" in summaries(by_number)[0]
    with pytest.raises(FormatError, match="the header lacks the column 'videoid'"):
        list(reader("webvid")(write_table(tmp_path, rows)))


def test_a_row_cannot_name_a_file_outside(tmp_path):
    rows = [["videoid", "page_dir", "name"], ["../../secret", "", "x"]]
    assert "leaves the media folder" in problem("webvid", write_table(tmp_path, rows))


def test_unknown_formats_are_refused_and_all_known_ones_exist():
    with pytest.raises(ValueError, match="unknown format 'lava': expected one of llava"):
        reader("lava")
    assert all(callable(reader(name)) for name in FORMATS)


def test_pairs_of_any_media(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("file,caption,source\na.png,a red bell,mine\nb.wav,a drum,mine\nc.xyz,,mine\nd.doc,a text,mine\n")
    image, audio, *bad = list(reader("pairs")(table))
    assert image.record["meta"] == {"source": "mine"}
    assert [part["type"] for part in image.record["messages"][0]["content"]] == ["image", "text"]
    assert audio.record["messages"][0]["content"][0] == {"type": "audio", "path": "b.wav"}
    assert [entry.problem for entry in bad] == ['"caption" is empty', "the extension of 'd.doc' is of no known medium"]
