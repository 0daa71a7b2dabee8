"""A table of media and their captions is a dataset of its own, wherever a manifest is read."""

import numpy as np
import pytest
from PIL import Image

from data.formats import reader
from data.manifest import FormatError, read_manifest
from data.records import scan_manifest
from train.dialogues.records import sources_of


@pytest.fixture
def folder(tmp_path):
    """A folder with two images."""
    for name in ("a", "b, c"):
        Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def table(folder, text, name="captions.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def captions(path):
    """(file, caption) of each record."""
    return [
        (record["messages"][0]["content"][0]["path"], record["messages"][1]["content"][0]["text"])
        for record in read_manifest(path)
    ]


QUOTED = 'file,caption\na.png,"a ""red"" bell,\n in the snow"\n"b, c.png",Glöckchen 铃\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_quotes_and_encodings(folder, encoding, ends):
    path = table(folder, QUOTED.replace("\n", ends), encoding=encoding)
    expected = [(str(folder / "a.png"), 'a "red" bell, in the snow'), (str(folder / "b, c.png"), "Glöckchen 铃")]
    assert captions(path) == expected


@pytest.mark.parametrize(
    "text", ["file;caption\na.png;x, y\n", "file\tcaption\na.png\tx, y\n", 'caption,n,file\n"x, y",3,a.png\n']
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "A.CSV"])
def test_delimiters_and_the_order_of_columns(folder, text, name):
    assert captions(table(folder, text, name)) == [(str(folder / "a.png"), "x, y")]


@pytest.mark.parametrize(
    "header",
    ["image,text", "File,Caption", "file_name,text", " Image_Path , Description ", "filename,captions", "FILE,text"],
)
def test_other_names_of_the_columns(folder, header):
    assert captions(table(folder, f"{header}\na.png,x\n")) == [(str(folder / "a.png"), "x")]


def test_the_own_names_go_before_others_which_are_meta(folder):
    path = table(folder, "image,file,text,caption\nz.png,a.png,other,x\n")
    assert captions(path) == [(str(folder / "a.png"), "x")]
    assert next(read_manifest(path))["meta"] == {"image": "z.png", "text": "other"}


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("image,path,text", "image and path could each be the column 'file'"),
        ("file,text,description", "text and description could each be the column 'caption'"),
        ("file,file,caption", "file and file could each be the column 'file'"),
        ("picture,caption,x", r"the header lacks the column 'file' \(or file_name, .*\); it has \"picture,caption,x\""),
        ("caption;x", "the header lacks the column 'file'"),
        ("a.png,a red bell", "the header lacks the column 'file'"),
        ("", "the header lacks the column 'file'.* it has none"),
    ],
)
def test_a_table_without_the_columns_or_with_two(folder, header, sentence):
    with pytest.raises(FormatError, match=f"captions.csv: {sentence}"):
        list(read_manifest(table(folder, f"{header}\na.png,x,y\n")))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("gone.png,x", "there is no file 'gone.png'"),
        ("../outside.png,x", "the path '../outside.png' leaves the manifest's folder"),
        ("/etc/a.png,x", "the path '/etc/a.png' is not relative"),
        ("http://example.org/a.png,x", "there is no file 'http://example.org/a.png'"),
        ("a.png,", '"caption" is empty'),
        (",x", '"file" is empty'),
        ("a.doc,x", "the extension of 'a.doc' is of no known medium"),
        ("a.png,x,y", "3 columns, expected 2: file, caption"),
        ("a.png", "1 columns, expected 2: file, caption"),
        ('a.png,"x', "not a row of a table"),
    ],
)
def test_a_bad_row_is_named_and_hides_no_other(folder, row, problem):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder.parent / "outside.png")
    path = table(folder, f"file,caption\na.png,one\n{row}\na.png,two\n")
    first, bad, last = scan_manifest(path)
    assert problem in bad.problem and bad.where == f"{path}, line 3"
    assert first.record and last.record
    with pytest.raises(FormatError, match=r"captions.csv, line 3"):
        list(read_manifest(path))


def test_captions_may_ask_for_media(folder):
    path = table(folder, QUOTED)
    [one, _] = [one.record for one in scan_manifest(path, "make")]
    assert one["messages"][1]["content"][1] == {
        "type": "image", "path": str(folder / "a.png"), "caption": 'a "red" bell, in the snow'
    }  # fmt: skip
    assert [one.record["meta"] for one in reader("pairs")(path)] == [{}, {}]


def test_tables_of_one_folder_have_names_of_their_own():
    first, second, other = sources_of(["my/a.csv", {"path": "my/b.tsv", "task": "make"}, "my/manifest.jsonl"], "start")
    assert (first.label, second.label, other.label) == ("a", "b", "my")
