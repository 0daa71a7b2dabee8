"""An encoder over pretrained trunks: unit embeddings, object tokens, what the classifier sees; parts are not saved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.parts import VARIABLE, PartMissing
from data.strict import SettingsError
from encoders import load_encoder
from encoders.image_reader import ReaderConfig
from encoders.towers import AudioTowerConfig, PointsTower, PointsTowerConfig, VideoTowerConfig
from encoders.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from tests.tiny_parts import write_parts

SMALL = TrunkEncoderConfig(image=ReaderConfig(width=16, depth=1, heads=2, objects=3))
SIZES = {"width": 16, "depth": 1, "heads": 2}
TOWERS = replace(
    SMALL,
    video=VideoTowerConfig(**SIZES, frames=2, objects=3),
    audio=AudioTowerConfig(**SIZES, channels=4),
    points=PointsTowerConfig(**SIZES, points=40, groups=6, group_size=8, patch_widths=(4, 4, 8), point_depth=1),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    write_parts(folder)
    return folder


@pytest.fixture
def encoder(cache, monkeypatch) -> TrunkEncoder:
    monkeypatch.setenv(VARIABLE, str(cache))
    torch.manual_seed(0)
    return TrunkEncoder.from_parts(SMALL).eval()


@pytest.fixture
def pixels(encoder) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.stack([encoder.preprocess("image", rng.integers(0, 256, (50, 60, 3), np.uint8)) for _ in range(2)])


def test_images_and_texts_become_unit_vectors_of_one_space(encoder, pixels):
    images, texts = encoder.embed("image", pixels), encoder.embed_text(["a cat", "a much longer text"])
    assert images.shape == texts.shape == (2, 24) and encoder.width == 24
    for vectors in (images, texts):
        assert torch.allclose(vectors.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert torch.allclose(encoder.embed_text(["a cat"]), texts[:1], atol=1e-5)  # padding changes nothing


def test_tokens_are_the_embedding_what_the_classifier_sees_and_objects(encoder, pixels):
    tokens = encoder.patches("image", pixels)
    assert [tuple(each.shape) for each in tokens] == [(5, 24)] * 2 == [(encoder.patch_counts()["image"], 24)] * 2
    assert torch.allclose(tokens[0][0], encoder.embed("image", pixels)[0], atol=1e-5)


def test_a_photograph_is_what_the_classifier_sees_and_a_drawing_what_the_reader_does(encoder, pixels):
    torch.nn.init.zeros_(encoder.photograph.weight)
    seen = encoder.classified(encoder.trunk.features(pixels)[32])
    torch.nn.init.constant_(encoder.photograph.bias, 40.0)
    embedded, classified, objects = encoder.see(pixels)
    assert torch.allclose(embedded, torch.nn.functional.normalize(seen, dim=-1), atol=1e-5)
    assert torch.allclose(classified, seen, atol=1e-6) and not objects.any()
    torch.nn.init.constant_(encoder.photograph.bias, -40.0)
    embedded, classified, objects = encoder.see(pixels)
    assert classified.abs().max() < 1e-6 and objects.any()


def test_the_trunk_looks_once_at_what_is_asked_about_twice(encoder, pixels):
    seen = []
    encoder.trunk._conv_stem.register_forward_hook(lambda *_: seen.append(1))
    first, again = encoder.see(pixels), encoder.see(pixels.clone())
    assert len(seen) == 1 and all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    other = encoder.see(pixels.flip(0))
    assert len(seen) == 2 and torch.allclose(other[0].flip(0), first[0], atol=1e-5)
    pixels[0, 0, 0, 0] += 1  # in place: another image
    encoder.see(pixels.flip(0))
    assert len(seen) == 3


def test_only_what_was_trained_is_saved_and_loads_again(encoder, pixels, tmp_path):
    encoder.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 400_000
    again = load_encoder(tmp_path)
    assert isinstance(again, TrunkEncoder) and again.identity == encoder.identity and again.config == encoder.config
    assert torch.allclose(again.embed("image", pixels), encoder.embed("image", pixels), atol=5e-3)


def test_media_with_a_tower_become_an_embedding_and_phrases(cache, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(cache))
    torch.manual_seed(0)
    encoder = TrunkEncoder.from_parts(TOWERS).eval()
    assert encoder.modalities == ("image", "video", "audio", "points")
    assert encoder.patch_counts() == {"image": 5, "video": 9, "audio": 9, "points": 9}
    rng = np.random.default_rng(0)
    media = {
        "video": rng.integers(0, 256, (5, 40, 60, 3), np.uint8),
        "audio": rng.uniform(-0.1, 0.1, 9000).astype(np.float32),
        "points": rng.normal(size=(70, 3)).astype(np.float32),
    }
    encoder.save_pretrained(tmp_path)
    again = load_encoder(tmp_path)
    assert isinstance(again, TrunkEncoder) and again.config == TOWERS
    for modality, array in media.items():
        one = encoder.preprocess(modality, array, 8.0 if modality == "video" else None)
        tokens = encoder.patches(modality, [one, 0 * one])
        assert [tuple(each.shape) for each in tokens] == [(9, 24)] * 2
        torch.testing.assert_close(tokens[0][0].norm(), torch.tensor(1.0))
        torch.testing.assert_close(encoder.embed(modality, [one])[0], tokens[0][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(again.patches(modality, [one])[0], tokens[0], atol=2e-2, rtol=2e-2)


def test_a_tower_is_added_to_an_encoder_that_reads_images(encoder, cache, pixels, tmp_path):
    encoder.save_pretrained(tmp_path)
    read = load_encoder(tmp_path)
    assert isinstance(read, TrunkEncoder) and read.modalities == ("image",)
    tower = TrunkEncoder.from_parts(TOWERS).towers["points"]
    assert isinstance(tower, PointsTower)
    read.add_tower("points", tower)
    read.save_pretrained(tmp_path)
    both = load_encoder(tmp_path)
    assert both.modalities == ("image", "points")
    torch.testing.assert_close(both.embed("image", pixels), read.embed("image", pixels), atol=5e-3, rtol=5e-3)


def test_what_is_wrong_is_said(encoder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="reads image, not audio"):
        encoder.preprocess("audio", np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="at 224 pixels a side, not at 64"):
        encoder.set_image_size(64)
    encoder.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"class": "TrunkEncoder", "image": {"widht": 3}}')
    with pytest.raises(SettingsError, match="unknown key 'widht'"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"class": "TrunkEncoder", "trunck": "x"}')
    with pytest.raises(SettingsError, match="unknown key 'trunck'"):
        load_encoder(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text('{"class": "TrunkEncoder", "image": {}}')
    with pytest.raises(PartMissing, match="models --fetch efficientnet"):
        load_encoder(tmp_path)
