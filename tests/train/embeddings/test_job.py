"""``nextgpt-lite embed``: the same loss as from files, shards whole or not there, and of their own encoder only."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.manifest import read_manifest, write_manifest
from data.media.loading import MediaError
from data.toybox import MediaPart, sample, write_toybox
from nextgpt_lite.cli import main
from tests.train.dialogues.test_manifests import rows_of
from tests.train.short_recipes import stage
from train.dialogues import embed as media_embeddings
from train.recipe import RecipeError
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Six conversations about pictures and sounds."""
    return write_toybox(tmp_path_factory.mktemp("written") / "toys", 6, 5, ("image", "audio"))


@pytest.fixture(scope="module")
def stored(tiny_folder, toys, tmp_path_factory):
    out = tmp_path_factory.mktemp("stored") / "embeddings"
    assert main(embed(toys, out, tiny_folder, "--captions", "--batch", "1", "--per-shard", "5")) == 0
    return out


def embed(manifest, out, model, *more):
    return ["embed", str(manifest), "--out", str(out), "--model", str(model), *more]


def task_from(embeddings, manifest, folder, name="encoding_alignment", **settings):
    recipe = stage(name, folder)
    data = [{"path": str(manifest), "embeddings": str(embeddings), "held_out": 0.0}]
    chosen = recipe.task_settings | {"data": data, "kinds": [], "word_weight": 0.0} | settings
    return build_task(replace(recipe, task_settings=chosen))


@pytest.mark.parametrize("name", ["encoding_alignment", "decoding_alignment"])
def test_the_loss_from_embeddings_is_that_from_files(tiny_folder, toys, stored, name):
    losses = {}
    for embeddings in (stored, "steps"):
        torch.manual_seed(0)
        task = task_from(embeddings, toys, tiny_folder, name)
        task.model.eval()
        with torch.no_grad():
            losses[embeddings] = [task.model(**task.finish(task.collate([item]))) for item in task.dataset.bins]
    assert len(losses[stored]) == len(losses["steps"]) > 0
    for ours, files in zip(losses[stored], losses["steps"], strict=True):
        assert ours.keys() == files.keys()
        assert all(torch.allclose(ours[part], files[part], rtol=1e-5) for part in ours)


def test_what_is_made_and_that_it_is_made_once(tiny_folder, toys, stored, tmp_path, capsys):
    index = json.loads((stored / "index.json").read_text())
    names = [name for name in index["shards"] if name.startswith("media")]
    assert names == ["media-00000.safetensors", "media-00001.safetensors", "media-00002.safetensors"]
    assert sum(len(load_file(stored / name)["embeddings"]) for name in names) == 12
    assert set(index["captions"]) == {"image", "audio"} and index["features"] == "pooled"
    out = shutil.copytree(stored, tmp_path / "copy")
    before = {name: (out / name).stat().st_mtime_ns for name in index["shards"]}
    (out / names[1]).unlink()
    with pytest.raises(RecipeError, match="are not finished: run nextgpt-lite embed again"):
        task_from(out, toys, tiny_folder)
    again = embed(toys, out, tiny_folder, "--captions", "--batch", "4", "--per-shard", "5")
    assert main(again) == 0
    assert "12 media" in capsys.readouterr().out
    assert [name for name in before if (out / name).stat().st_mtime_ns != before[name]] == [names[1]]
    rows, wanted = (load_file(folder / names[1])["embeddings"] for folder in (out, stored))
    torch.testing.assert_close(rows, wanted, atol=1e-5, rtol=1e-5)
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tiny_folder, toys, stored, tmp_path):
    out = tmp_path / "out"
    more = ("--captions", "--batch", "1", "--per-shard", "5", "--processes", "2")
    assert main(embed(toys, out, tiny_folder, *more)) == 0
    for name in json.loads((stored / "index.json").read_text())["shards"]:
        ours, theirs = load_file(out / name), load_file(stored / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)


def test_patches_are_stored_end_to_end(tiny_folder, toys, tmp_path):
    out = tmp_path / "out"
    more = ("--features", "patches", "--image-size", "48", "--batch", "1")
    assert main(embed(toys, out, tiny_folder, *more)) == 0
    shard = load_file(out / "media-00000.safetensors")
    assert shard["offsets"][-1] == len(shard["embeddings"]) and len(shard["offsets"]) == 13
    chosen = {
        "input_features": "patches", "input_projection": "mlp2x_gelu", "input_projection_settings": {},
        "prompts": {"media_tokens": 0}, "image_size": 48,
    }  # fmt: skip
    settings = dict(stage("encoding_alignment", tiny_folder).task_settings)
    settings.pop("input_tokens")
    batches = []
    for embeddings in (str(out), "steps"):
        recipe = stage("encoding_alignment", tiny_folder)
        data = [{"path": str(toys), "embeddings": embeddings, "held_out": 0.0}]
        task = build_task(replace(recipe, task_settings=settings | chosen | {"data": data}))
        batches.append(task.finish(task.collate([task.dataset.bins[0]])))
    assert all(torch.allclose(batches[0][key], batches[1][key], atol=1e-5) for key in batches[0])


def test_embeddings_of_another_encoder_are_refused_by_name(tiny_copy, toys, stored):
    path = tiny_copy / "encoder/model.safetensors"
    weights = load_file(path)
    save_file({name: value + 0.01 for name, value in weights.items()}, path)
    with pytest.raises(RecipeError, match=r"the embeddings in .* are of encoder [0-9a-f]{12}, this model's is"):
        task_from(stored, toys, tiny_copy)


def test_a_medium_that_was_not_embedded_or_has_changed_is_a_bad_record(tiny_folder, toys, stored, tmp_path):
    folder = shutil.copytree(toys.parent, tmp_path / "toys")
    records = list(read_manifest(folder / "manifest.jsonl"))
    shown = [p for r in records for m in r["messages"] if m["role"] == "user" for p in m["content"] if "path" in p]
    with open(shown[0]["path"], "ab") as file:
        file.write(b"\0")
    shutil.copy(shown[1]["path"], folder / "other.png")
    shown[1]["path"] = str(folder / "other.png")
    write_manifest(folder / "manifest.jsonl", records)
    with pytest.raises(RecipeError) as caught:
        task_from(stored, folder / "manifest.jsonl", tiny_folder)
    assert "bytes, and" in str(caught.value) and "has no embedding of 'other.png'" in str(caught.value)


def test_a_broken_medium_is_told_and_left_out_of_training(tiny_folder, toys, tmp_path, capsys):
    folder = shutil.copytree(toys.parent, tmp_path / "toys")
    manifest, out = folder / "manifest.jsonl", tmp_path / "out"
    shown = [
        p
        for r in read_manifest(manifest)
        for m in r["messages"]
        if m["role"] == "user"
        for p in m["content"]
        if "path" in p
    ]
    with open(shown[0]["path"], "r+b") as file:
        file.truncate(100)
    assert main(embed(manifest, out, tiny_folder)) == 0
    printed = capsys.readouterr()
    assert "11 media" in printed.out and "1 left out" in printed.out and "left out: " in printed.err
    task = task_from(out, manifest, tiny_folder, bad_records="skip", bad_limit=0.5)
    assert len(task.loader.bad.found) == 1 and len(rows_of(task)) == 5


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--batch", "0"), "--batch must be at least 1, not 0"),
        (("--per-shard", "0"), "--per-shard must be at least 1"),
        (("--model", "nothing"), "no model 'nothing'"),
        ((), "holds something already"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tiny_folder, toys, tmp_path, capsys, more, sentence):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("precious")
    assert main(embed(toys, out, tiny_folder, *more)) == 2
    assert sentence in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["mine"]


def test_a_folder_of_other_data_is_refused(tiny_folder, toys, stored, tmp_path, capsys):
    out = shutil.copytree(stored, tmp_path / "copy")
    other = write_toybox(tmp_path / "other", 6, 6, ("image", "audio"))
    assert main(embed(other, out, tiny_folder, "--captions", "--per-shard", "5")) == 2
    assert "holds embeddings of another data" in capsys.readouterr().err


def test_an_interrupted_start_goes_on_where_it_was(tiny_model, monkeypatch, tmp_path):
    monkeypatch.setattr(media_embeddings, "CACHE", tmp_path)
    monkeypatch.setattr(media_embeddings, "SHARD", 2)
    parts = [MediaPart("image", sample(2, index)) for index in range(5)]
    read, seen = media_embeddings.read_medium, []

    def stops(part):
        seen.append(part)
        if part == parts[4]:
            raise KeyboardInterrupt
        return read(part)

    monkeypatch.setattr(media_embeddings, "read_medium", stops)
    with pytest.raises(KeyboardInterrupt):
        media_embeddings.embed_media(tiny_model.encoder, parts)
    monkeypatch.setattr(media_embeddings, "read_medium", lambda part: seen.append(part) or read(part))
    kept, broken = media_embeddings.embed_media(tiny_model.encoder, parts)
    assert not broken and list(kept) == parts and seen == [*parts, parts[4]]
    assert len(list(tmp_path.iterdir())) == 3


def test_what_could_not_be_read_is_tried_again(tiny_model, monkeypatch):
    """The rest comes from the cache; a medium that was broken must not stay so for ever."""
    parts = [MediaPart("image", sample(1, index)) for index in range(3)]
    whole, broken = media_embeddings.embed_media(tiny_model.encoder, parts)
    assert not broken
    shutil.rmtree(media_embeddings.CACHE)
    read = media_embeddings.read_medium
    seen = []

    def fails(part):
        seen.append(part)
        if part == parts[1] and len(seen) <= 3:
            raise MediaError("cut short")
        return read(part)

    monkeypatch.setattr(media_embeddings, "read_medium", fails)
    first, broken = media_embeddings.embed_media(tiny_model.encoder, parts)
    assert broken == {parts[1]: "cut short"} and parts[1] not in first
    again, broken = media_embeddings.embed_media(tiny_model.encoder, parts)
    assert not broken and seen[3:] == [parts[1]]
    for part in parts:
        torch.testing.assert_close(again[part], whole[part], atol=1e-5, rtol=0)
    _, broken = media_embeddings.embed_media(tiny_model.encoder, parts)
    assert not broken and len(seen) == 4  # and kept now
