"""Manifests are read and written as the format says, and what is wrong is said with file and line."""

import json

import pytest

from data.manifest import FormatError, read_manifest, write_manifest


def text(words):
    return {"type": "text", "text": words}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/b.wav").write_bytes(b"x")
    return tmp_path


def conversation(user=None, assistant=None):
    return {
        "messages": [
            {"role": "user", "content": user or [{"type": "image", "path": "a.png"}, text("Let me hear it.")]},
            {
                "role": "assistant",
                "content": assistant or [text("这里"), {"type": "audio", "path": "inside/b.wav", "caption": "bell"}],
            },
        ],
        "meta": {"thing": "bell"},
    }


def write(folder, *records):
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    return path


def test_round_trip(folder):
    path = folder / "manifest.jsonl"
    assert write_manifest(path, [conversation(), conversation()]) == 2
    assert "inside/b.wav" in path.read_text(encoding="utf-8")
    assert str(folder) not in path.read_text(encoding="utf-8")
    first, second = read_manifest(path)
    assert first == second
    assert first["messages"][0]["content"][0]["path"] == str(folder / "a.png")
    assert first["messages"][1]["content"][0]["text"] == "这里"
    assert first["meta"] == {"thing": "bell"}


def test_what_was_read_can_be_written(folder):
    source = write(folder, conversation())
    records = list(read_manifest(source))
    write_manifest(folder / "again.jsonl", records)
    assert list(read_manifest(folder / "again.jsonl")) == records


def test_plain_text_content_becomes_a_part(folder):
    (record,) = read_manifest(write(folder, {"messages": [{"role": "user", "content": "hello"}]}))
    assert record == {"messages": [{"role": "user", "content": [text("hello")]}], "meta": {}}


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"messages": []}, "not empty"),
        ({"message": [1]}, "messages"),
        ({**conversation(), "extra": 1}, "unknown keys extra"),
        ({**conversation(), "meta": []}, '"meta" must be an object'),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "unknown role 'robot'; known are system, user, assistant"),
        ({"messages": [{"role": "user"}]}, '"role" and "content"'),
        ({"messages": [{"role": "user", "content": []}]}, "content must be text or a list"),
        ({"messages": [{"role": ["user"], "content": "hi"}]}, "unknown role ['user']"),
        (conversation(user=[{"type": ["image"], "path": "a.png"}]), "known types are text, image"),
        (conversation(user=["hi"]), 'unknown content "hi"'),
        (conversation(user=[{"type": "image", "path": "a\0.png"}]), "there is no file 'a\\x00.png'"),
        (conversation(user=[{"type": "image", "path": "x" * 300}]), "there is no file"),
        (conversation(user=[{"type": "smell", "path": "a.png"}]), "known types are text, image, video, audio, points"),
        (conversation(user=[{"type": "text"}]), 'string "text"'),
        (conversation(user=[{"type": "image"}]), 'needs a "path"'),
        (conversation(user=[{"type": "image", "path": "missing.png"}]), "no file 'missing.png'"),
        (conversation(user=[{"type": "image", "path": "/etc/hostname"}]), "not relative"),
        (conversation(user=[{"type": "image", "path": "C:a.png"}]), "not relative"),
        (conversation(user=[{"type": "image", "path": "../x.png"}]), "leaves the manifest's folder"),
        (conversation(assistant=[{"type": "audio", "path": "inside/b.wav"}]), 'needs a "caption"'),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "only come first"),
        ({"messages": [{"role": "system", "content": [{"type": "image", "path": "a.png"}]}]}, "text only"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(folder, record, sentence):
    path = write(folder, conversation(), record)
    with pytest.raises(FormatError, match=r"manifest\.jsonl, line 2: ") as caught:
        list(read_manifest(path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(folder):
    outside = folder.parent / f"{folder.name}-outside.png"
    outside.write_bytes(b"x")
    (folder / "link.png").symlink_to(outside)
    with pytest.raises(FormatError, match="leaves"):
        list(read_manifest(write(folder, conversation(user=[{"type": "image", "path": "link.png"}]))))


def test_not_json_and_missing(folder):
    (folder / "bad.jsonl").write_text("{oops\n")
    with pytest.raises(FormatError, match=r"bad\.jsonl, line 1: not JSON"):
        list(read_manifest(folder / "bad.jsonl"))
    with pytest.raises(FormatError, match="No such file"):
        list(read_manifest(folder / "none.jsonl"))
    (folder / "deep.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(FormatError, match=r"deep\.jsonl, line 1: not JSON"):
        list(read_manifest(folder / "deep.jsonl"))
    (folder / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read"):
        list(read_manifest(folder / "binary.jsonl"))


def test_a_refused_record_leaves_the_old_manifest(folder):
    path = write(folder, conversation())
    before = path.read_bytes()
    with pytest.raises(FormatError, match="leaves"):
        write_manifest(path, [conversation(user=[{"type": "image", "path": "/elsewhere/a.png"}])])
    assert path.read_bytes() == before
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]
