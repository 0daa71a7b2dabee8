"""``nextgpt-lite cache``: every image of a manifest once, whole or nothing, and only for its own encoder."""

import pytest
import torch

from adapters.visual_cache import VisualCache
from data.media.loading import load_medium
from data.toybox import write_toybox
from nextgpt_lite import AnyToAny
from nextgpt_lite.cli import main
from nextgpt_lite.commands.cache import image_paths


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_toybox(tmp_path_factory.mktemp("toys") / "data", count=3, modalities=("image", "points"))


@pytest.mark.parametrize("kind", ["exact", "ivf_sq8"])
def test_the_cache_holds_every_image_of_the_manifest(tiny_folder, tiny_model, manifest, tmp_path, capsys, kind):
    out = tmp_path / "cache"
    arguments = ["cache", str(manifest), "--out", str(out), "--model", str(tiny_folder), "--batch", "2"]
    assert main([*arguments, "--kind", kind, "--neighbours", "2", "--blend", "0.25"]) == 0
    assert f"3 prototypes, 0.0 MB, {kind}" in capsys.readouterr().out
    encoder = tiny_model.encoder
    cache = VisualCache.load(out, encoder.identity)
    assert (cache.kind, cache.neighbours, cache.blend) == (kind, 2, 0.25)
    pictures = [encoder.preprocess("image", load_medium(path).array) for path in image_paths(manifest)]
    with torch.no_grad():
        expected = encoder.embed("image", torch.stack(pictures))
    torch.testing.assert_close(cache.prototypes.float(), expected, atol=2e-3, rtol=0)


def test_a_model_can_use_it(tiny_folder, manifest, tmp_path):
    arguments = ["cache", str(manifest), "--out", str(tmp_path / "cache"), "--model", str(tiny_folder)]
    assert main([*arguments, "--blend", "1.0", "--neighbours", "1"]) == 0
    model = AnyToAny.from_pretrained(tiny_folder)
    part = {"type": "image", "array": load_medium(next(image_paths(manifest))).array}
    before = model.embed(part)
    model.use_cache(tmp_path / "cache")
    assert not torch.allclose(model.embed(part), before, atol=1e-3)
    torch.testing.assert_close(model.embed(part), model.cache.prototypes[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("bad", ["no manifest", "no image", "used folder", "no batch", "blend"])
def test_bad_input_is_one_sentence_and_writes_nothing(tiny_folder, manifest, tmp_path, capsys, bad):
    out, given, more = tmp_path / "cache", manifest, []
    sentence = {"no manifest": "cannot be read", "no image": "holds no image", "used folder": "holds something",
                "no batch": "--batch must be at least 1", "blend": "blend must lie in 0..1"}[bad]  # fmt: skip
    if bad == "no manifest":
        given = tmp_path / "gone.jsonl"
    elif bad == "no image":
        given = write_toybox(tmp_path / "data", count=1, modalities=("points",))
    elif bad == "used folder":
        out.mkdir()
        (out / "mine").write_text("precious")
    else:
        more = ["--batch", "0"] if bad == "no batch" else ["--blend", "2"]
    assert main(["cache", str(given), "--out", str(out), "--model", str(tiny_folder), *more]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in error
    assert not (out / "prototypes.safetensors").exists()
