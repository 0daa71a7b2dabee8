"""Labelled tables as conversations: every direction, splits kept apart, words of one's own, refusals."""

from collections import Counter

import pytest

from data.formats import reader
from data.formats.labelled_words import LabelWords, read_words, with_article
from data.manifest import FormatError
from tests.digits import WORDS

HEADER = "path,modality,digit,split,speaker\n"
FILES = {"train": ("a", "b", "c"), "test": ("d", "e", "f")}


@pytest.fixture
def table(tmp_path):
    """Three pictures and three sounds of a seven and of an eight in each split. The reader opens no medium."""
    lines = [
        f"{name}{label}.{suffix},{modality},{label},{split},ann\n"
        for split, names in FILES.items()
        for label in "78"
        for name in names
        for modality, suffix in (("image", "png"), ("audio", "wav"))
    ]
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + "".join(lines))
    return path


def read(table, **options):
    return list(reader("labelled")(table, words=str(WORDS), **options))


def parts_of(record, role):
    return [part for message in record["messages"] if message["role"] == role for part in message["content"]]


def direction(record):
    shown = {part["type"] for part in parts_of(record, "user")} - {"text"} or {"text"}
    made = {part["type"] for part in parts_of(record, "assistant")} - {"text"} or {"text"}
    return "".join(shown), "".join(made)


def test_every_direction_is_there_and_says_what_is_true(table):
    found = [located.record for located in read(table)]
    cells = Counter(direction(record) for record in found if record["meta"]["kind"] in ("tell", "make", "convert"))
    names = ("text", "image", "audio")
    assert cells == {(a, b): 12 for a in names for b in names if a != b}
    for record in found:
        media = [part for part in parts_of(record, "user") + parts_of(record, "assistant") if part["type"] != "text"]
        assert all(part["caption"] == {"7": "seven", "8": "eight"}[part["path"][1]] for part in media)
        if record["meta"]["kind"] != "two":
            assert record["meta"]["attributes"] == {"digit": media[0]["caption"]}
            said = " ".join(part["text"] for part in parts_of(record, "assistant") if part["type"] == "text")
            assert media[0]["caption"] in said and len({part["caption"] for part in media}) == 1
    assert {record["meta"]["speaker"] for record in found} == {"ann"}


@pytest.mark.parametrize("split", FILES)
def test_pairs_never_leave_their_split(table, split):
    found = read(table, split=split)
    names = {part["path"][0] for located in found for part in parts_of(located.record, "user") if "path" in part}
    names |= {part["path"][0] for located in found for part in parts_of(located.record, "assistant") if "path" in part}
    assert names == set(FILES[split])
    assert all(located.where.startswith(f"{table}, line ") for located in found)
    assert found == read(table, split=split)


def test_conversations_of_two_turns_are_there(table):
    found = [located.record for located in read(table)]
    kinds = {kind: [r for r in found if r["meta"]["kind"] == kind] for kind in ("follow", "two")}
    assert kinds["follow"] and kinds["two"]
    for record in kinds["follow"]:
        assert [message["role"] for message in record["messages"]] == ["user", "assistant"] * 2
        assert all(part["type"] == "text" for part in record["messages"][2]["content"])
    assert all(record["meta"]["attributes"] == {} for record in kinds["two"])


def test_words_may_be_replaced(table, tmp_path):
    words = tmp_path / "words.yaml"
    text = 'label: digit\nnames: {"7": seven}\nanswers: {tell: "I read {a_name}."}\nask: {image: [Read!]}\n'
    words.write_text(text)
    told = [located.record for located in reader("labelled")(table, words=str(words))]
    seven = next(r for r in told if r["meta"]["kind"] == "tell" and r["meta"]["digit"] == "7")
    assert direction(seven) == ("image", "text")
    assert [part.get("text") for part in seven["messages"][0]["content"]] == [None, "Read!"]
    assert seven["messages"][1]["content"][0]["text"] == "I read a seven."
    assert with_article("eight") == "an eight" and with_article("one") == "a one" and with_article("8") == "an 8"


def test_a_table_with_a_column_of_labels_needs_no_words(tmp_path):
    path = tmp_path / "animals.csv"
    path.write_text("path,modality,label\na.png,image,owl\n")
    first = next(iter(reader("labelled")(path))).record
    assert first["messages"][1]["content"][0]["text"] == "This is an owl."
    assert first["meta"]["attributes"] == {"label": "owl"}


def test_bad_rows_hide_no_others(table):
    rows = ("a7.png,image,7,train,ann", "b.xyz,smell,7,train,ann", "c.png,image", "d.png,image,,train,ann")
    rows += tuple(f"{name}.png,image,{name},train,ann" for name in range(20))  # some are paired with another row
    table.write_text(HEADER + "\n".join(rows))
    found = read(table)
    problems = {located.where.rpartition(" ")[2]: located.problem for located in found if located.problem}
    assert "unknown modality 'smell'" in problems["3"] and "2 columns, expected 5" in problems["4"]
    assert "'digit' is empty" in problems["5"] and sum(located.record is not None for located in found) > 20


@pytest.mark.parametrize(
    ("words", "split", "message"),
    [
        ("label: number", "", "no column 'number' of labels; the table has path, modality, digit"),
        ("label: digit\nnoum: x", "", "unknown key 'noum'"),
        ("label: digit\nask: [a]", "", "ask must be a mapping of names, each value a list"),
        ("label: digit\nanswers: {tell: 'This is {it}.'}", "", "may use {noun}, {name} and {a_name} only"),
        ("label: digit\nnames: [a]", "", "names must be a mapping of names"),
        ("label: digit\nask: {image: 'What is this?'}", "", "ask.image must be a list, each item text"),
        ("label: digit\nmake: {image: []}", "", "every modality needs at least one sentence"),
        ("[", "", "words.yaml, line 1: expected the node content"),
        ("label: digit", "dev", "no row of the split 'dev'; known are test, train"),
    ],
)
def test_refusals(table, tmp_path, words, split, message):
    path = tmp_path / "words.yaml"
    path.write_text(words)
    with pytest.raises(FormatError) as refused:
        list(reader("labelled")(table, words=str(path), split=split))
    assert message in str(refused.value)


def test_defaults_are_not_shared():
    one = LabelWords("label", "label")
    one.ask["image"] = ["?"]
    assert LabelWords("label", "label").ask["image"] != ["?"]


def test_names_are_read_as_they_are_spelt(table, tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text("label: digit\nnames: {yes: [on, 'no'], 007: bond, 1.10: [1e3], 1:30: [null]}\n")
    names = read_words(path, ["path", "modality", "digit"]).names
    assert names == {"yes": ["on", "no"], "007": ["bond"], "1.10": ["1e3"], "1:30": ["null"]}
    path.write_text("label: digit\nnames: {yes: [a], yes: [b]}\n")
    with pytest.raises(FormatError, match="line 2: 'yes' is given twice"):
        read_words(path, ["digit"])
