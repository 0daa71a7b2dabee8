"""Stages on manifests, on the tiny model: sources and their mixture, records that cannot be used, figures by source."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.manifest import read_manifest, write_manifest
from data.records import scan_manifest
from data.toybox import write_toybox
from tests.train.short_recipes import stage
from train.dialogues.loader import mixed
from train.dialogues.overlap import count_shared
from train.dialogues.records import sources_of
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.run import run_recipe
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Eight conversations about pictures, shown and made."""
    return write_toybox(tmp_path_factory.mktemp("written") / "toys", 8, 5, ("image",))


@pytest.fixture
def toys(written, tmp_path):
    """A copy of them that a test may damage."""
    return shutil.copytree(written.parent, tmp_path / "toys") / "manifest.jsonl"


@pytest.fixture
def words(tmp_path):
    """Twelve conversations in words alone."""
    (tmp_path / "words").mkdir()
    path = tmp_path / "words/manifest.jsonl"
    said = [[{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"bell {n}"}] for n in range(12)]
    write_manifest(path, [{"messages": messages} for messages in said])
    return path


def task_on(data, folder, name="encoding_alignment", **settings):
    recipe = stage(name, folder)
    chosen = recipe.task_settings | {"data": data, "kinds": []} | settings
    return build_task(replace(recipe, task_settings=chosen))


def rows_of(task):
    return [row for item in task.dataset.bins for row in item]


def test_a_manifest_is_trained_on_and_judged_by_source(tiny_folder, toys, words, tmp_path):
    data = [{"path": str(toys)}, {"path": str(words), "held_out": 0.25}, {"toybox": True}]
    recipe = stage("encoding_alignment", shutil.copytree(tiny_folder, tmp_path / "model"))
    settings = recipe.task_settings | {"data": data, "dialogues": 6, "held_out": 2, "kinds": ["describe"]}
    figures = run_recipe(replace(recipe, task_settings=settings), tmp_path / "run")
    assert {"loss", "loss_toys", "loss_words", "loss_toybox", "right", "right_toys", "right_words"} <= set(figures)
    assert not (tmp_path / "run/rejected.jsonl").exists()
    task = task_on(data, tiny_folder, dialogues=6)
    assert Counter(row.source for row in rows_of(task)) == {"toys": 7, "words": 9, "toybox": 6}
    assert [row.source for row in task.loader.held_out()].count("words") == 3
    assert task.describe_data()[1] == f"toys: 7 dialogues ({toys})"


def test_a_row_of_a_manifest_is_that_of_its_own_messages(tiny_folder, toys):
    task = task_on(str(toys), tiny_folder, "decoding_alignment", word_weight=0.0)
    shown = {json.dumps(record["meta"]["thing"]) for record in read_manifest(toys)}
    assert len(shown) > 2
    for row in rows_of(task):
        made, seen = row.captions["image"], len(row.media)
        assert len(made) + seen == 1, "each conversation shows its picture or asks for it"
        batch = task.collator([row])
        assert ("target_image" in batch) == bool(made) and ("media_embeddings" in batch) == bool(seen)
        if made:
            wanted = task.decoders["image"].encode_caption(made)
            torch.testing.assert_close(batch["target_image"], wanted, atol=2e-3, rtol=2e-3)


def test_media_are_those_of_the_files(tiny_folder, toys, tiny_model):
    from data.media.loading import load_medium

    for when in ("start", "steps"):
        task = task_on(str(toys), tiny_folder, embeddings=when)
        for record in read_manifest(toys):
            part = record["messages"][0]["content"][0]
            if part["type"] != "image":
                continue
            medium = load_medium(part["path"])
            pixels = tiny_model.encoder.preprocess("image", medium.array)[None]
            with torch.no_grad():
                expected = tiny_model.encoder.embed("image", pixels)[0]
            found = [
                task.loader.embeddings[n]
                for row in rows_of(task)
                if row.where.endswith(place_of(record, toys))
                for n in row.media
            ]
            for embedding in found:
                torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)


def place_of(record, path):
    lines = path.read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, start=1) if json.loads(line)["meta"] == record["meta"])
    return f"line {number}"


def test_weights_are_shares_of_the_rows():
    rows = mixed([list(range(100)), list("abcdef")], [1.0, 1.0], seed=3)
    letters = Counter(row for row in rows if isinstance(row, str))
    assert len(rows) == 200 and letters.total() == 100, "as many as it takes to have every row once"
    assert set(letters.values()) == {16, 17}, "all of a source as often as each other, or once more"
    assert {row for row in rows if isinstance(row, int)} == set(range(100))
    assert rows == mixed([list(range(100)), list("abcdef")], [1.0, 1.0], seed=3)
    assert mixed([[1, 2], [3]], None, seed=3) == [1, 2, 3]


def test_the_mixture_of_a_recipe(tiny_folder, toys, words):
    data = [{"path": str(toys), "weight": 1}, {"path": str(words), "weight": 3.0}]
    counts = Counter(row.source for row in rows_of(task_on(data, tiny_folder)))
    assert counts == {"toys": 7, "words": 21}, "of 7 and 11 that are not held out"


@torch.no_grad()
def test_dialogues_in_words_alone_can_be_packed(tiny_folder, words, toys):
    data = [{"path": str(words)}, {"path": str(toys)}]
    task = task_on(data, tiny_folder, pack_text=True)
    task.model.eval()
    for item in task.dataset.bins:
        batch = task.collate([item])
        shown = any(row.media for row in item)
        assert ("position_ids" in batch) != shown
        if not shown:
            assert batch["input_ids"].shape == (1, sum(len(row.ids) for row in item))
        padded = task.collator(item)
        torch.testing.assert_close(task.model(**batch)["loss"], task.model(**padded)["loss"], atol=1e-5, rtol=1e-5)
    assert max(len(item) for item in task.dataset.bins if not any(row.media for row in item)) > 1


def test_what_is_held_out_and_trained_on_is_counted(tiny_folder, toys, tmp_path):
    records = list(read_manifest(toys))
    other = shutil.copytree(toys.parent, tmp_path / "other")  # the same files elsewhere
    for record in records:
        for part in (part for m in record["messages"] for part in m["content"] if "path" in part):
            part["path"] = str(other / Path(part["path"]).relative_to(toys.parent))
    fresh = {"messages": [{"role": "user", "content": "hm"}, {"role": "assistant", "content": "hm!"}], "meta": {}}
    write_manifest(other / toys.name, [records[0], fresh, records[3]])
    data = [{"path": str(toys), "held_out": str(other / toys.name)}]
    with pytest.raises(RecipeError, match=r"2 of the 3 records in .*, which is held out, are in .* too"):
        task_on(data, tiny_folder)
    assert count_shared(scan_manifest(other / toys.name), scan_manifest(toys)) == 2
    for image in other.rglob("*.png"):
        image.write_bytes(image.read_bytes()[:-1] + b"?")  # as long, and another
    assert count_shared(scan_manifest(other / toys.name), scan_manifest(toys)) == 0


def damage(toys):
    """Break a picture in the middle, remove one, and write a reply that is empty; the places, in order."""
    lines = [json.loads(line) for line in toys.read_text(encoding="utf-8").splitlines()]
    parts = [next(p for m in line["messages"] for p in m["content"] if p["type"] == "image") for line in lines]
    shown = [n for n, line in enumerate(lines) if line["messages"][0]["content"][0]["type"] == "image"]
    broken = toys.parent / parts[shown[0]]["path"]
    broken.write_bytes(broken.read_bytes()[:200])
    (toys.parent / parts[shown[1]]["path"]).unlink()
    lines[shown[2]]["messages"][1]["content"] = " "
    toys.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return [f"{toys}, line {n + 1}" for n in shown[:3]]


def test_bad_records_refuse_a_run_or_are_left_out_of_it(tiny_folder, toys, tmp_path):
    places = damage(toys)
    data = {"path": str(toys), "held_out": 0.0}
    with pytest.raises(RecipeError, match="3 of 8 records cannot be used, and none is allowed") as caught:
        task_on([data], tiny_folder)
    assert all(place in str(caught.value) for place in places)
    with pytest.raises(RecipeError, match=r"more than the share of 0\.3"):
        task_on([data], tiny_folder, bad_records="skip", bad_limit=0.3)
    task = task_on([data], tiny_folder, bad_records="skip", bad_limit=0.5)
    assert len(rows_of(task)) == 5 and not {row.where for row in rows_of(task)} & set(places)
    task.begin(tmp_path, resume=False)
    rejected = {
        e["where"]: e["reason"] for e in map(json.loads, (tmp_path / "rejected.jsonl").read_text().splitlines())
    }
    assert sorted(rejected) == sorted(places)
    reasons = ("damaged or truncated", "there is no file", "is empty")
    assert all(reason in rejected[place] for place, reason in zip(places, reasons, strict=True))


def test_a_medium_that_breaks_in_training_is_named_and_replaced(tiny_folder, toys, tmp_path):
    data = [{"path": str(toys), "embeddings": "steps", "held_out": 0.0}]
    recipe = stage("encoding_alignment", tiny_folder, steps=6)
    chosen = recipe.task_settings | {"data": data, "bad_records": "skip", "bad_limit": 0.2, "tokens_per_bin": 60}
    recipe = replace(recipe, task_settings=chosen)
    task = build_task(recipe)
    row = next(row for row in rows_of(task) if row.media)
    broken = Path(row.media[0].path)
    broken.write_bytes(broken.read_bytes()[:200])
    (tmp_path / "run").mkdir()
    task.begin(tmp_path / "run", resume=False)
    [other] = task.loader.unreadable.replace([row], task.loader.candidates(), task.fits)
    assert other is not row and other.media
    [entry] = map(json.loads, (tmp_path / "run/rejected.jsonl").read_text().splitlines())
    assert entry["where"] == row.where and "damaged or truncated" in entry["reason"]
    TaskTrainer(task, recipe, tmp_path / "run").train()
    assert len((tmp_path / "run/rejected.jsonl").read_text().splitlines()) == 1, "each is told once"

    for medium in (medium for row in rows_of(task) for medium in row.media):
        Path(medium.path).write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = [row for row in rows_of(task) if row.media]
    with pytest.raises(RecipeError, match=r"2 of 8 records cannot be used, more than the share of 0\.2"):
        task.loader.unreadable.replace(rows, task.loader.candidates(), task.fits)


def test_a_resumed_run_knows_what_it_had_found(tiny_folder, toys, tmp_path):
    data = [{"path": str(toys), "embeddings": "steps"}]
    settings = {"bad_records": "skip", "bad_limit": 0.5}
    task = task_on(data, tiny_folder, **settings)
    task.begin(tmp_path, resume=False)
    task.loader.bad.add("a place", "broken")
    again = task_on(data, tiny_folder, **settings)
    again.begin(tmp_path, resume=True)
    assert again.loader.bad.found == {"a place": "broken"}
    task_on(data, tiny_folder, **settings).begin(tmp_path, resume=False)
    assert not (tmp_path / "rejected.jsonl").exists(), "a run that starts afresh has found nothing yet"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([{"pth": "x"}], r"data\[0\]: unknown key 'pth': did you mean 'path'"),
        ([{"weight": 1.0}], "has one of toybox, things, path, shards and dataset"),
        ([{"toybox": True, "path": "x"}], "has one of toybox, things, path, shards and dataset"),
        ([{"path": "a/m.jsonl", "weight": 1}, {"toybox": True}], "every entry of data has a weight, or none"),
        ([{"path": "a/m.jsonl", "weight": 0}], r"data\[0\]: weight must be a number, above 0, not 0"),
        (
            [{"path": "a/m.jsonl", "held_out": 1.5}],
            r"held_out must be a number, at least 0 and below 1, not 1\.5",
        ),
        (["a/m.jsonl", "a/n.jsonl"], "two entries called 'a'"),
        ([7], r"data\[0\] must be a path or a mapping, not 7"),
    ],
)
def test_a_wrong_setting_is_one_sentence(data, sentence):
    with pytest.raises(RecipeError, match=sentence):
        sources_of(data, "start")


def test_what_the_model_cannot_read_or_make_is_a_bad_record(tiny_folder, tmp_path):
    shutil.copy(write_toybox(tmp_path / "t", 1, 5, ("points",)).parent / "points/000000.npy", tmp_path / "cloud.npy")
    cloud = {"type": "points", "path": str(tmp_path / "cloud.npy"), "caption": "a bell"}
    ask = {"role": "user", "content": "x"}
    records = [{"messages": [ask, {"role": "assistant", "content": [cloud]}]}]
    records.append({"messages": [{"role": "user", "content": "long " * 900}, {"role": "assistant", "content": "no"}]})
    write_manifest(tmp_path / "m.jsonl", records)
    with pytest.raises(RecipeError) as caught:
        task_on(str(tmp_path / "m.jsonl"), tiny_folder)
    assert "answers with points, which this model cannot make" in str(caught.value)
    assert "tokens, more than the 768 that the model reads" in str(caught.value)
    with pytest.raises(RecipeError, match="cannot be read"):
        task_on(str(tmp_path / "none.jsonl"), tiny_folder)


def test_captions_without_media_are_learnt_and_have_no_noise_loss(tiny_folder, toys, tmp_path):
    records = list(read_manifest(toys))
    made = [r for r in records if r["messages"][1]["content"][-1]["type"] == "image"]
    bare = {"type": "image", "caption": made[0]["messages"][1]["content"][-1]["caption"]}
    again = {"messages": [made[0]["messages"][0], {"role": "assistant", "content": [bare]}], "meta": {}}
    write_manifest(toys, [*made, again])
    task = task_on(
        [{"path": str(toys), "held_out": 0.0}], tiny_folder, "decoding_alignment", noise_weight=0.5, word_weight=0.0
    )
    rows = rows_of(task)
    batch = task.collator(rows)
    assert len(batch["target_image"]) == len(rows) == len(made) + 1
    assert len(batch["latents_image"]) == len(batch["latents_at_image"]) == len(made)
    assert task.model(**batch)["noise_image"].isfinite()
