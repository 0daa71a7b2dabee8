"""A stage on streams, on the tiny model: archives and a manifest mixed, taken up in the middle, bad samples named."""

import json
from dataclasses import replace
from itertools import islice

import pytest
import torch

from data.manifest import read_manifest, write_manifest
from data.streams.shards import write_shards
from data.toybox import write_toybox
from tests.train.short_recipes import stage
from train.dialogues.bins import StreamedBins
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six conversations about pictures in two archives, and four in words alone in a manifest."""
    folder = tmp_path_factory.mktemp("data")
    manifest = write_toybox(folder / "toys", 6, 5, ("image",))
    write_shards(manifest, folder / "shards", per_shard=3)
    said = [[{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"bell {n}"}] for n in range(4)]
    (folder / "words").mkdir()
    write_manifest(folder / "words/manifest.jsonl", [{"messages": messages} for messages in said])
    return folder


def recipe_on(place, folder, name="encoding_alignment", **settings):
    entries = [
        {"shards": str(place / "shards/*.tar"), "weight": 3.0, "held_out": str(place / "toys/manifest.jsonl")},
        {"path": str(place / "words/manifest.jsonl"), "weight": 1.0},
    ]
    recipe = stage(name, folder)
    chosen = recipe.task_settings | {"data": entries, "kinds": [], "word_weight": 0.0, "tokens_per_bin": 120}
    return replace(recipe, task_settings=chosen | settings)


def small(task, size=12):
    """The windows of a stream made small enough for a test."""
    task.dataset.size = size
    return task.dataset


def shown(bins):
    return [[(row.where, row.ids) for row in item] for item in bins]


def test_a_stream_goes_on_in_the_middle_of_a_window(tiny_folder, data):
    recipe = recipe_on(data, tiny_folder)
    whole = shown(islice(small(build_task(recipe)), 20))
    sources = {where.split(",")[0].rpartition("/")[2] for item in whole for where, _ in item}
    assert sources == {"shard-000000.tar", "shard-000001.tar", "manifest.jsonl"}
    for after in (0, 3, 11):
        first = small(build_task(recipe))
        assert shown(islice(first, after)) == whole[:after]
        state = json.loads(json.dumps(first.state_dict()))
        second = small(build_task(recipe))
        second.load_state_dict(state)
        assert shown(islice(second, 20 - after)) == whole[after:]


def test_a_streamed_row_is_that_of_the_manifest(tiny_folder, data):
    streamed = build_task(recipe_on(data, tiny_folder, "decoding_alignment"))
    entry = {"path": str(data / "toys/manifest.jsonl"), "held_out": 0.0}
    listed = build_task(recipe_on(data, tiny_folder, "decoding_alignment", data=[entry]))
    rows = {tuple(row.ids): row for item in islice(small(streamed, 40), 15) for row in item if row.source == "shards"}
    wanted = {tuple(row.ids): row for item in listed.dataset.bins for row in item}
    assert set(rows) <= set(wanted) and len(rows) > 3
    for ids, row in rows.items():
        ours, theirs = streamed.collator([row]), listed.collator([wanted[ids]])
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-5) for key in ours)


def test_a_stage_trains_on_streams_and_is_judged(tiny_folder, data, tmp_path):
    recipe = recipe_on(data, tiny_folder)
    task = build_task(recipe)
    assert isinstance(small(task), StreamedBins)
    TaskTrainer(task, recipe, tmp_path / "run").train()
    figures = task.evaluate()
    assert {"loss_shards", "loss_words", "right_shards", "right_words"} <= set(figures)
    assert task.describe_data() == ["StreamedBins: a stream", "shards: a stream, weight 3", "words: a stream, weight 1"]


def test_bad_samples_are_named_and_left_out_up_to_the_limit(tiny_folder, data, tmp_path):
    records = list(read_manifest(data / "toys/manifest.jsonl"))
    bare = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}], "meta": {}}
    folder = tmp_path / "toys"
    folder.mkdir()
    for record in records:
        for part in (part for m in record["messages"] for part in m["content"] if "path" in part):
            with open(part["path"], "rb") as file:
                content = file.read()
            part["path"] = str(folder / part["path"].rpartition("/")[2])
            with open(part["path"], "wb") as file:
                file.write(content[:80] if record is records[0] else content)
    write_manifest(folder / "manifest.jsonl", [*records, bare])
    write_shards(folder / "manifest.jsonl", tmp_path / "bad", per_shard=10)
    entries = [{"shards": str(tmp_path / "bad/*.tar")}]
    task = build_task(recipe_on(data, tiny_folder, data=entries, bad_records="skip", bad_limit=0.5))
    for item in islice(small(task), 12):
        task.finish(task.collate([item]))
    reasons = dict(sorted(task.loader.bad.found.items()))
    assert "is empty" in reasons[f"{tmp_path}/bad/shard-000000.tar, sample 000000006"]
    assert "damaged or truncated" in reasons[f"{tmp_path}/bad/shard-000000.tar, sample 000000000"]
    strict = build_task(recipe_on(data, tiny_folder, data=entries))
    with pytest.raises(RecipeError, match="records cannot be used, and none is allowed"):
        [strict.finish(strict.collate([item])) for item in islice(small(strict), 12)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"word_weight": 1.0}, "word_weight must be 0 with streams"),
        ({"data": [{"shards": "none/*.tar"}]}, "there is no archive none/"),
        ({"data": [{"shards": "a.tar", "held_out": 0.1}]}, "which is a stream, must be a manifest"),
    ],
)
def test_what_streams_cannot_do_is_one_sentence(tiny_folder, data, settings, sentence):
    with pytest.raises(RecipeError, match=sentence):
        build_task(recipe_on(data, tiny_folder, "decoding_alignment", **settings))
