"""Packed weights are half as large, come back to half a scale, and a packed model answers as before."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data.parts import VARIABLE
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import CheckpointError, read_manifest, write_manifest
from nextgpt_lite.packing import SHARED, is_packed_file, pack, pack_folder, unpack, unpacked_folder


def test_rows_come_back_to_half_a_scale():
    torch.manual_seed(0)
    weights = {"w": torch.randn(64, 64, 3) * torch.logspace(-6, 2, 64)[:, None, None], "b": torch.randn(64)}
    weights["zero"] = torch.zeros(128, 64)
    packed = pack(weights)
    assert packed["w"].dtype == torch.int8 and packed["w"].shape == (64, 64, 3)
    assert torch.equal(packed["b"], weights["b"])
    again = unpack(packed)
    assert set(again) == set(weights) and not again["zero"].any()
    scale = weights["w"].flatten(1).abs().amax(1) / 127
    error = (again["w"].float() - weights["w"]).flatten(1).abs().amax(1)
    assert (error <= 0.51 * scale + weights["w"].flatten(1).abs().amax(1) * 1e-3 + 1e-7).all()


def test_a_packed_model_answers_as_before(tiny_copy, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("nextgpt_lite.packing.LEAST", 64)  # of a tiny model all would stay
    before = AnyToAny.from_pretrained(tiny_copy)
    condition = torch.randn(1, *before.decoders["image"].condition_shape)
    image = before.decode("image", condition, [1])[0].array
    for name in ("core", "image_decoder"):
        size = sum(path.stat().st_size for path in (tiny_copy / name).rglob("*.safetensors"))
        pack_folder(tiny_copy / name)
        assert sum(path.stat().st_size for path in (tiny_copy / name).rglob("*.safetensors")) < 0.9 * size
    write_manifest(tiny_copy, read_manifest(tiny_copy)["name"])
    after = AnyToAny.from_pretrained(tiny_copy)
    assert np.abs(after.decode("image", condition, [1])[0].array.astype(int) - image).mean() < 4
    made = sorted(path.name.split("-")[0] for path in (tmp_path / "cache" / "unpacked").iterdir())
    assert made == ["core", "image_decoder"]
    times = [path.stat().st_mtime_ns for path in (tmp_path / "cache" / "unpacked").rglob("*.safetensors")]
    AnyToAny.from_pretrained(tiny_copy)
    assert times == [path.stat().st_mtime_ns for path in (tmp_path / "cache" / "unpacked").rglob("*.safetensors")]


def test_what_cannot_be_unpacked_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    save_file({"w": torch.randn(64, 64)}, tmp_path / "weights" / "model.safetensors", {"format": "pt"})
    assert unpacked_folder(tmp_path / "weights", "0" * 64) == tmp_path / "weights"
    pack_folder(tmp_path / "weights")
    assert is_packed_file(tmp_path / "weights" / "model.safetensors")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="no place to unpack"):
        unpacked_folder(tmp_path / "weights", "0" * 64)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    unpacked = unpacked_folder(tmp_path / "weights", "0" * 64)
    assert load_file(unpacked / "model.safetensors")["w"].dtype == torch.float16


def test_what_components_share_lies_in_one_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    for folder in ("image_decoder/vae", "video_decoder"):
        (tmp_path / "model" / folder).mkdir(parents=True)
        save_file({"w": torch.randn(64, 64)}, tmp_path / "model" / folder / "model.safetensors", {"format": "pt"})
        pack_folder(tmp_path / "model" / folder)
    video = tmp_path / "model" / "video_decoder"
    (video / SHARED).write_text('{"vae": "../image_decoder/vae"}')
    unpacked = unpacked_folder(video, "1" * 64)
    assert load_file(unpacked / "vae" / "model.safetensors")["w"].dtype == torch.float16
    changed = tmp_path / "model" / "image_decoder" / "vae" / "model.safetensors"
    save_file({"w": torch.ones(64, 64)}, changed, {"format": "pt"})
    assert (load_file(unpacked_folder(video, "1" * 64) / "vae" / "model.safetensors")["w"] == 1).all()
    (video / SHARED).write_text('{"vae": "../../cache"}')
    with pytest.raises(CheckpointError, match="own folder"):
        unpacked_folder(video, "2" * 64)
    assert len(list((tmp_path / "cache" / "unpacked").iterdir())) == 2
