"""One bad record is one named bad record, whatever reader meets it; marks of encodings are read everywhere."""

import io
import json
import tarfile

import datasets
import pytest

from data.formats import reader
from data.formats.sources import json_reader
from data.manifest import FormatError, read_manifest, write_manifest
from data.records import BadRecords, scan_manifest
from data.streams.hub_datasets import DatasetRecords
from data.streams.shards import Shards
from data.texts import read_texts
from tests.data.test_formats import gpt, human, records, summaries, write_json

TEXT = {"type": "text", "text": "hi"}
GOOD = {"messages": [{"role": "user", "content": [TEXT]}, {"role": "assistant", "content": [TEXT]}]}


def test_records_on_one_line_are_counted_one_by_one(tmp_path):
    """json.dump writes a list on one line."""
    entries = [{"id": n, "conversations": [human("Hello"), gpt("" if n % 3 else "Hi")]} for n in range(30)]
    (tmp_path / "train.json").write_text(json.dumps(entries))
    bad = BadRecords("skip", 1.0)
    for one in reader("llava")(tmp_path / "train.json"):
        if one.problem:
            bad.add(one.where, one.problem)
    assert len(bad.found) == 20
    assert f"{tmp_path / 'train.json'}, line 1, record 2, id 1" in bad.found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_read(tmp_path, encoding):
    entry = {"id": "ä", "conversations": [human("Grüße"), gpt("Hallo")]}
    for name, text in (("a.json", json.dumps([entry], ensure_ascii=False)), ("a.jsonl", json.dumps(entry))):
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert summaries(records("llava", tmp_path / name)[0]) == ["user: Grüße", "assistant: Hallo"]
    (tmp_path / "a.csv").write_bytes("file;caption\na.png;eine Blüte\n".encode(encoding))
    assert summaries(records("pairs", tmp_path / "a.csv")[0])[1] == "assistant: eine Blüte"


BROKEN = b'{"conversations": [{"from": "human", "value": "caf\xe9"}, {"from": "gpt", "value": "b"}]}'


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (BROKEN, "broken text, which is not UTF-8"),
        (BROKEN.replace(b"\xe9", b"\\ud83d"), "broken text, which is not UTF-8"),
        (b"[" * 200_000, "nested too deep"),
        (b"9" * 5_000, "not JSON"),
        (b'{"conversations": [{"from": "human", "value": "a"}, null]}', "a turn needs"),
        (b'{"conversations": {"from": 3}}', 'a list "conversations"'),
    ],
)
def test_one_bad_record_is_one_named_bad_record(tmp_path, line, sentence):
    good = json.dumps({"conversations": [human("Hello"), gpt("Hi")]}).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([good, line, good]))
    found = list(reader("llava")(tmp_path / "a.jsonl"))
    assert [bool(one.record) for one in found] == [True, False, True]
    assert sentence in found[1].problem and found[1].where.endswith("a.jsonl, line 2")


def test_a_reader_that_stumbles_over_a_record_names_it(tmp_path):
    source = write_json(tmp_path, [{"a": 1}, {"a": {}}, {"b": 1}, {"a": "x"}])
    made = json_reader(lambda entry: {"messages": [answer(entry["a"].strip())], "meta": {}})
    found = list(made(source))
    assert [bool(one.record) for one in found] == [False, False, False, True]
    assert all("AttributeError" in one.problem for one in found[:2])
    assert found[2].problem == "not of the format (KeyError: 'a')"


def answer(text):
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def test_a_bad_row_of_a_table_hides_no_other(tmp_path):
    rows = [b"a.png,a bell", b'b.png,"a drum', b"c.png,a \xff car", b"d.png,a cat,more"]
    rows += [b'"e.png","a ""dog"""', b'f.png,"two', b'lines"', b""]
    (tmp_path / "t.csv").write_bytes(b"\n".join([b"file,caption", *rows]))
    found = [(one.where.rpartition("line ")[2], bool(one.record)) for one in reader("pairs")(tmp_path / "t.csv")]
    assert found == [("2", True), ("3", False), ("4", False), ("5", False), ("6", True), ("7", True)]


def test_placeholders_of_a_record_without_media_are_words(tmp_path):
    turns = [human("How do I use the <video> tag, or <image>?"), gpt("Write <video src=x></video>.")]
    [record] = records("llava", write_json(tmp_path, [{"id": "a", "conversations": turns}]))
    assert summaries(record) == [f"user: {turns[0]['value']}", f"assistant: {turns[1]['value']}"]


def test_a_manifest_is_read_whatever_is_in_its_lines(tmp_path):
    lines = [
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode().replace(b"hi", b"h\xe9"),
        b"[" * 200_000,
    ]
    (tmp_path / "m.jsonl").write_bytes(b"\n".join(lines))
    found = list(scan_manifest(tmp_path / "m.jsonl"))
    assert [one.problem[:11] for one in found] == ["", "broken text", "not JSON (n"]
    with pytest.raises(FormatError, match="line 2: broken text"):
        list(read_manifest(tmp_path / "m.jsonl"))
    with pytest.raises(FormatError, match="record 1: broken text"):
        write_manifest(tmp_path / "new.jsonl", [json.loads(json.dumps(GOOD).replace("hi", "\\ud83d"))])
    assert not (tmp_path / "new.jsonl").exists()


def test_annotations_of_every_kind_are_named_where_they_are_wrong(tmp_path):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2}, 7, {"id": [3], "file_name": "c.jpg"}]
    wrong = [{"image_id": 2, "caption": "b"}, {"image_id": [3], "caption": "c"}, None, {"image_id": 1, "caption": 4}]
    annotations = [{"image_id": 1, "caption": "a"}, *wrong, {"image_id": 1, "caption": "\ud83d"}]
    source = write_json(tmp_path, {"images": images, "annotations": annotations})
    found = list(reader("coco_captions")(source))
    assert [bool(one.record) for one in found] == [True] + [False] * 5
    source.write_text('{"images": ' + "[" * 200_000)
    with pytest.raises(FormatError, match="nested too deep"):
        list(reader("coco_captions")(source))


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "../x"])
def test_a_row_whose_file_has_an_impossible_name(tmp_path, name):
    (tmp_path / "t.csv").write_text(f"videoid,name\n{name},a bell\n", encoding="utf-8")
    [one] = reader("webvid")(tmp_path / "t.csv")
    assert one.problem and one.where.endswith("line 2")


def archive(path, *files):
    with tarfile.open(path, "w") as target:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return path


def test_samples_of_an_archive(tmp_path):
    picture = ("png", b"...")
    samples = {"a": b"\xef\xbb\xbfgood", "b": b"caf\xe9", "c": "gut".encode("utf-16")}
    files = [(f"{key}.{end}", content) for key, text in samples.items() for end, content in (picture, ("txt", text))]
    path = archive(tmp_path / "a.tar", *files, ("d.json", b"[" * 200_000), ("e.json", b'{"messages": [3]}'))
    found = {one.where[-1]: one for one in Shards([path])}
    assert [key for key, one in found.items() if one.record is None] == [key for key in found if key in "bde"]
    assert len(found) == 5 and "utf-8" in found["b"].problem
    assert found["a"].record["messages"][1]["content"][0]["text"] == "good"
    assert found["c"].record["messages"][1]["content"][0]["text"] == "gut"


def test_an_archive_with_a_damaged_header_does_not_end_there(tmp_path):
    path = archive(tmp_path / "a.tar", *((f"{n}.json", json.dumps(GOOD).encode()) for n in range(4)))
    content = bytearray(path.read_bytes())
    content[2 * 1024 + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged at byte 2,048, after 2 files"):
        list(Shards([path]))


def test_rows_of_a_dataset(tmp_path):
    messages = [json.dumps(GOOD["messages"]), "[" * 200_000, json.dumps([3]), json.dumps(GOOD["messages"])]
    datasets.Dataset.from_dict({"messages": messages}).save_to_disk(str(tmp_path / "stored"))
    assert [bool(one.record) for one in DatasetRecords.open(str(tmp_path / "stored"))] == [True, False, False, True]
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines/a.jsonl").write_text(f"{json.dumps({'messages': messages[0]})}\n{{oops\n")
    with pytest.raises(FormatError, match="after row"):
        list(DatasetRecords.open(str(tmp_path / "lines")))


def test_a_dataset_that_is_resumed_twice_before_a_row_is_read(tmp_path):
    rows = [json.dumps(GOOD["messages"]).replace("hi", f"hi {number}") for number in range(40)]
    datasets.Dataset.from_dict({"messages": rows}).save_to_disk(str(tmp_path), num_shards=2)
    whole, state, found = list(DatasetRecords.open(str(tmp_path))), None, []
    for steps in (7, 0, 3, 0, 0, 15, 5, 0, 10):
        stream = DatasetRecords.open(str(tmp_path))
        if state is not None:
            stream.load_state_dict(json.loads(json.dumps(state)))
        rest = iter(stream)
        found += [next(rest) for _ in range(steps)]
        state = stream.state_dict()
    assert found == whole


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_texts_begin_with_no_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("Grüße".encode(encoding))
    assert read_texts(tmp_path)[0].content == "Grüße"
