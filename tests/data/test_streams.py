"""Archives, Hugging Face data sets and mixtures: the records of the manifest, and the very same continuation."""

import io
import json
import tarfile
from itertools import islice

import datasets
import numpy as np
import pytest

from data.manifest import FormatError, read_manifest, write_manifest
from data.media.loading import Medium, load_bytes, load_medium
from data.media.saving import save_medium
from data.streams.hub_datasets import DatasetRecords
from data.streams.mixture import ListStream, Mixture
from data.streams.shards import Shards, write_shards


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Ten conversations, each with a picture of its own colour."""
    folder = tmp_path_factory.mktemp("streams")
    records = []
    for index in range(10):
        path = save_medium(Medium("image", np.full((8, 8, 3), 20 * index, np.uint8)), folder / f"{index}.png")
        asked = [{"type": "image", "path": str(path)}, {"type": "text", "text": "What colour?"}]
        reply = [
            {"type": "text", "text": f"Grey {20 * index}."},
            {"type": "image", "path": str(path), "caption": "grey"},
        ]
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}]
        records.append({"messages": messages, "meta": {"index": index}})
    write_manifest(folder / "manifest.jsonl", records)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def archives(manifest):
    return write_shards(manifest, manifest.parent / "shards", per_shard=3)


@pytest.fixture(scope="module")
def stored(manifest):
    """The same as a data set on the disk, in four files."""
    rows = []
    for record in read_manifest(manifest):
        [path] = {part["path"] for m in record["messages"] for part in m["content"] if "path" in part}
        with open(path, "rb") as file:
            media = [{"path": path, "bytes": file.read()}]
        rows.append({"messages": record["messages"], "media": media, "meta": json.dumps(record["meta"])})
    folder = manifest.parent / "stored"
    datasets.Dataset.from_list(rows).save_to_disk(folder, num_shards=4)
    return folder


def bare(record):
    """A record without what differs between a file and its copy in an archive."""
    messages = [
        {**m, "content": [{k: v for k, v in part.items() if k not in ("path", "content")} for part in m["content"]]}
        for m in record["messages"]
    ]
    return {"messages": messages, "meta": record["meta"]}


def by_index(located):
    assert [one.problem for one in located if one.record is None] == []
    return sorted((one.record for one in located), key=lambda record: record["meta"]["index"])


@pytest.mark.parametrize("kind", ["archives", "stored"])
def test_a_pass_has_the_records_of_the_manifest(manifest, kind, request):
    source = request.getfixturevalue(kind)
    stream = Shards(source) if kind == "archives" else DatasetRecords.open(str(source))
    found = by_index(list(stream))
    wanted = list(read_manifest(manifest))
    assert [bare(record) for record in found] == [bare(record) for record in wanted]
    ours, theirs = found[7]["messages"][0]["content"][0], wanted[7]["messages"][0]["content"][0]
    assert (load_bytes(ours["path"], ours["content"]).array == load_medium(theirs["path"]).array).all()


def order(located):
    return [one.record["meta"]["index"] for one in located]


def opened(kind, request):
    source = request.getfixturevalue(kind)
    return Shards(source, seed=4) if kind == "archives" else DatasetRecords.open(str(source), seed=4)


def endless(stream):
    while True:
        yield from stream


@pytest.mark.parametrize("kind", ["archives", "stored"])
@pytest.mark.parametrize("after", [0, 4, 10, 14])
def test_a_stream_that_was_stopped_goes_on_with_the_very_same_records(kind, after, request):
    whole = order(islice(endless(opened(kind, request)), 24))
    assert sorted(whole[:10]) == sorted(whole[10:20]) == list(range(10))
    assert whole[:10] != whole[10:20], "each pass has its own order"
    first = opened(kind, request)
    assert order(islice(endless(first), after)) == whole[:after]
    state = json.loads(json.dumps(first.state_dict()))
    second = opened(kind, request)
    second.load_state_dict(state)
    assert order(islice(endless(second), 24 - after)) == whole[after:]


def test_readers_share_the_archives(archives):
    parts = [order(Shards(archives, reader=reader, readers=3)) for reader in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(10))
    assert all(parts)
    with pytest.raises(ValueError, match="4 archives cannot be shared among 5 readers"):
        Shards(archives, reader=0, readers=5)


def test_a_mixture_keeps_its_weights_and_its_place(archives):
    def mixture():
        return Mixture([Shards(archives, seed=1), ListStream(["a", "b", "c"], seed=1)], [3.0, 1.0], seed=9)

    def told(items):
        return [(n, item if isinstance(item, str) else item.record["meta"]["index"]) for n, item in items]

    whole = told(islice(mixture(), 400))
    assert 0.65 < sum(number == 0 for number, _ in whole) / 400 < 0.85
    first = mixture()
    told(islice(first, 137))
    state = json.loads(json.dumps(first.state_dict()))
    second = mixture()
    second.load_state_dict(state)
    assert told(islice(second, 263)) == whole[137:]
    with pytest.raises(ValueError, match="holds no record"):
        list(islice(Mixture([ListStream([])], [1.0]), 1))
    with pytest.raises(ValueError, match="expected one above 0 for each"):
        Mixture([ListStream("a")], [0.0])


def archive_of(path, **files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_captioned_pictures_of_img2dataset(manifest, tmp_path):
    picture = (manifest.parent / "3.png").read_bytes()
    told = json.dumps({"caption": "from json", "url": "http://a"}).encode()
    path = archive_of(
        tmp_path / "a.tar", a_png=picture, a_txt=b"a grey square", a_json=told, b_json=told, b_png=picture
    )
    first, second = sorted(Shards([path]), key=lambda one: one.where)
    assert first.where == f"{path}, sample a"
    assert first.record["messages"][1]["content"] == [{"type": "text", "text": "a grey square"}]
    assert second.record["messages"][1]["content"] == [{"type": "text", "text": "from json"}]
    [made, _] = sorted(Shards([path], task="make"), key=lambda one: one.where)
    assert made.record["messages"][1]["content"][1]["content"] == picture


def test_samples_that_cannot_be_used_are_named(tmp_path):
    shown = {"messages": [{"role": "user", "content": [{"type": "image", "path": "0.png"}]},
                          {"role": "assistant", "content": "x"}]}  # fmt: skip
    path = archive_of(tmp_path / "a.tar", a_json=b"{oops", b_json=json.dumps(shown).encode(), c_txt=b"alone")
    problems = {one.where[-1]: one.problem for one in Shards([path])}
    assert "not JSON" in problems["a"]
    assert problems["b"] == "there is no file '0.png' in the sample"
    assert "one medium and its caption" in problems["c"]
    (tmp_path / "no.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(FormatError, match=r"no\.tar is no tar archive"):
        list(Shards([tmp_path / "no.tar"]))


def test_a_column_of_media_and_one_of_captions(manifest, tmp_path):
    picture = {"path": "p.png", "bytes": (manifest.parent / "3.png").read_bytes()}
    rows = [
        {"picture": picture, "text": "a square"},
        {"picture": picture, "text": None},
        {"picture": None, "text": "x"},
    ]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "set")
    columns = {"image": "picture", "caption": "text"}
    good, nameless, empty = DatasetRecords.open(str(tmp_path / "set"), columns=columns)
    assert good.record["messages"][0]["content"][0]["content"] == picture["bytes"]
    assert "the caption must be text" in nameless.problem and "the image must be bytes" in empty.problem
    with pytest.raises(ValueError, match="expected one of image, video, audio, points, and caption"):
        DatasetRecords.open(str(tmp_path / "set"), columns={"image": "picture"})
