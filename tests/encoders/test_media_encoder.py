"""The encoder as a component: any medium in, unit vectors out, a folder that survives a round trip."""

import json

import numpy as np
import pytest
import torch

from encoders import ImageBindConfig, MediaEncoder, MediaEncoderConfig, PointConfig, TowerConfig, load_encoder
from encoders.preprocessing.audio import AudioSettings
from encoders.preprocessing.sensors import DepthSettings, ThermalSettings, preprocess_points
from encoders.preprocessing.vision import ImageSettings, VideoSettings
from encoders.text_tokenizer import END, PADDING, ClipTokenizer, tokenize, train_tokenizer

TEXTS = ["a red bell in the snow", "两个红色的铃铛", "a low fast drum, three times"] * 3


@pytest.fixture(scope="module")
def encoder() -> MediaEncoder:
    tokenizer = train_tokenizer(TEXTS, 300)
    config = MediaEncoderConfig(
        ImageBindConfig(
            24,
            {
                "vision": TowerConfig(16, 1, 2, (3, 2, 32, 32), (2, 8, 8), (2, 8, 8)),
                "text": TowerConfig(
                    16, 1, 2, (12,), vocabulary=tokenizer.get_vocab_size(), logit_scale=10.0
                ),
                "audio": TowerConfig(16, 1, 2, (1, 32, 204), (16, 12), (16, 12), logit_scale=20.0),
            },
        ),
        {
            "points": PointConfig(
                width=16, depth=1, heads=2, groups=8, group_size=4, patch_widths=(8, 8, 8), patch_output=8,
                projection_width=16, shared_width=24, points=64,
            ),
            "image": ImageSettings(size=32),
            "video": VideoSettings(clips=3, clip_seconds=0.0, crops=1),
            "audio": AudioSettings(mels=32),
        },
    )  # fmt: skip
    torch.manual_seed(0)
    return MediaEncoder(config, tokenizer).eval()


def _media() -> dict[str, list[tuple[np.ndarray, float | None]]]:
    rng = np.random.default_rng(0)
    return {
        "image": [(rng.integers(0, 256, shape, np.uint8), None) for shape in ((128, 128, 3), (17, 40), (64, 50, 4))],
        "video": [(rng.integers(0, 256, (frames, 48, 64, 3), np.uint8), 4) for frames in (1, 2, 8, 31)],
        "audio": [
            (rng.normal(0, 0.1, length).astype(np.float32), rate)
            for length, rate in ((32000, 16000), (90, 8000), (300_000, 44100))
        ],
        "points": [(rng.normal(0, 1, (count, 3)), None) for count in (1, 63, 64, 20_000)],
    }


@pytest.mark.parametrize("modality", ["image", "video", "audio", "points"])
def test_any_medium_becomes_a_unit_vector(encoder, modality):
    prepared = [encoder.preprocess(modality, array, rate) for array, rate in _media()[modality]]
    with torch.no_grad():
        units = encoder.embed(modality, prepared)
        alone = torch.cat([encoder.embed(modality, [one]) for one in prepared])
    assert units.shape == (len(prepared), encoder.width) and units.dtype == torch.float32
    assert torch.allclose(units.norm(dim=-1), torch.ones(len(prepared)), atol=1e-5)
    assert torch.allclose(units, alone, atol=1e-5)


@pytest.mark.parametrize("modality", ["image", "video", "audio", "points"])
def test_projections_point_where_the_unit_vectors_of_single_clips_point(encoder, modality):
    array, rate = _media()[modality][0]
    prepared = [encoder.preprocess(modality, array, rate)[:1] if modality in ("video", "audio") else
                encoder.preprocess(modality, array, rate)]  # fmt: skip
    with torch.no_grad():
        projected, unit = encoder.project(modality, prepared), encoder.embed(modality, prepared)
    assert torch.allclose(torch.nn.functional.normalize(projected, dim=-1), unit, atol=1e-5)
    assert not torch.allclose(projected.norm(dim=-1), torch.ones(1), atol=1e-3)


def test_a_still_film_is_its_picture(encoder):
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    with torch.no_grad():
        image = encoder.embed("image", [encoder.preprocess("image", picture)])
        video = encoder.embed("video", [encoder.preprocess("video", np.stack([picture] * 5), 4)])
    assert torch.allclose(image, video, atol=1e-5)


def test_text(encoder):
    with torch.no_grad():
        together = encoder.embed_text(["a red bell", "a", "字 " * 60, ""])
        alone = encoder.embed_text(["a"])
    assert together.shape == (4, encoder.width)
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_the_end_has_the_largest_id_and_survives_cutting(encoder):
    ids = tokenize(encoder.tokenizer, ["A RED bell " * 20, "a"], 12)
    end = encoder.tokenizer.token_to_id(END)
    assert ids.shape == (2, 12) and ids.max() == end == encoder.tokenizer.get_vocab_size() - 1
    assert ids[0, -1] == end
    assert ids[1, -1] == encoder.tokenizer.token_to_id(PADDING) == 0
    assert torch.equal(tokenize(encoder.tokenizer, ["a red"], 12), tokenize(encoder.tokenizer, ["A Red"], 12))


def test_training_attention_equals_inference(encoder):
    prepared = torch.stack([encoder.preprocess("image", array) for array, _ in _media()["image"]])
    ids = encoder.tokenize(TEXTS[:3])
    fused = encoder.embed("image", prepared), encoder.embed_ids(ids)
    encoder.train()
    stepwise = encoder.embed("image", prepared), encoder.embed_ids(ids)
    encoder.eval()
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(fused, stepwise, strict=True))


def test_round_trip(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, MediaEncoder)
    assert loaded.config == encoder.config and loaded.identity == encoder.identity and len(loaded.identity) == 64
    with torch.no_grad():
        cosine = (loaded.embed_text(TEXTS[:2]) * encoder.embed_text(TEXTS[:2])).sum(-1)
    assert (cosine > 0.999).all()


def test_a_broken_folder_is_refused_by_name(encoder, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        MediaEncoder.from_pretrained(tmp_path)
    encoder.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["imagebind"]["shared_width"] = 32
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"has shape \(24, 16\), expected \(32, 16\)"):
        MediaEncoder.from_pretrained(tmp_path)
    for key, value, sentence in (
        ("colour", 1, r"config\.json: audio: unknown key 'colour': expected one of rate, mels"),
        ("mels", "many", r"config\.json: audio: mels must be an integer, at least 1, not 'many'"),
        ("deviation", 0, r"config\.json: audio: deviation must be a number, above 0, not 0"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(values | {"audio": values["audio"] | {key: value}}))
        with pytest.raises(ValueError, match=sentence):
            MediaEncoder.from_pretrained(tmp_path)


def test_a_folder_says_which_encoder_it_is(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    assert values.pop("class") == "MediaEncoder"
    path.write_text(json.dumps(values))  # as saved before the class was written
    assert load_encoder(tmp_path).identity == encoder.identity
    path.write_text(json.dumps(values | {"class": "Telescope"}))
    with pytest.raises(ValueError, match=r"class must be one of MediaEncoder, .*not 'Telescope'"):
        load_encoder(tmp_path)


def test_bad_media_are_named(encoder):
    with pytest.raises(ValueError, match="not smell"):
        encoder.preprocess("smell", np.zeros(3))
    with pytest.raises(ValueError, match="not text"):
        encoder.embed("text", torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        preprocess_points(np.zeros((5, 2)), 16)
    with pytest.raises(ValueError, match="finite"):
        preprocess_points(np.full((5, 3), np.nan), 16)


@pytest.fixture(scope="module")
def sensors() -> MediaEncoder:
    """An encoder of what the released one has besides, with its tokenizer and without points."""
    towers = {
        "text": TowerConfig(8, 1, 2, (77,), vocabulary=49408, logit_scale=10.0),
        "depth": TowerConfig(8, 1, 2, (1, 32, 32), (16, 16), (16, 16), logit_scale=5.0),
        "thermal": TowerConfig(8, 1, 2, (1, 32, 32), (16, 16), (16, 16), logit_scale=10.0),
        "imu": TowerConfig(8, 1, 2, (6, 2000), (8,), (8,), logit_scale=5.0),
    }
    config = MediaEncoderConfig(
        ImageBindConfig(16, towers), {"depth": DepthSettings(size=32), "thermal": ThermalSettings(size=32)}, "clip"
    )
    torch.manual_seed(0)
    return MediaEncoder(config, ClipTokenizer()).eval()


def test_depth_heat_and_motion_become_unit_vectors(sensors):
    rng = np.random.default_rng(0)
    media = {
        "depth": (rng.uniform(0.5, 8, (40, 60)).astype(np.float32), None),
        "thermal": (rng.integers(0, 256, (50, 30), np.uint8), None),
        "imu": (rng.normal(size=(700, 6)), 200.0),
    }
    assert sensors.modalities == tuple(media)
    for modality, (array, rate) in media.items():
        with torch.no_grad():
            unit = sensors.embed(modality, [sensors.preprocess(modality, array, rate)] * 2)
        assert unit.shape == (2, 16)
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2))
    with pytest.raises(ValueError, match="this encoder reads depth, thermal, imu, not points"):
        sensors.preprocess("points", np.zeros((4, 3)))


def test_an_encoder_with_the_released_tokenizer_survives_a_round_trip(sensors, tmp_path):
    sensors.save_pretrained(tmp_path, torch.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = MediaEncoder.from_pretrained(tmp_path)
    assert loaded.config == sensors.config
    with torch.no_grad():
        assert torch.equal(loaded.embed_text(["A dog."]), sensors.embed_text(["A dog."]))


def test_the_released_encoder_is_configured_whole():
    config = MediaEncoderConfig.huge(PointConfig())
    assert MediaEncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with torch.device("meta"):
        encoder = MediaEncoder(config, ClipTokenizer())
    assert encoder.modalities == ("image", "video", "audio", "depth", "thermal", "imu", "points")
    with pytest.raises(ValueError, match=r"unknown tokenizer .words."):
        MediaEncoderConfig.from_dict({**config.to_dict(), "tokenizer": "words"})
