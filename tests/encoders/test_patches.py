"""Patch tokens of media: how many, unit length, clips averaged, another resolution."""

import numpy as np
import pytest
import torch

from tests.tiny_model import tiny_encoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return tiny_encoder()


def media():
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return {
        "image": (picture, None),
        "video": (np.stack([picture] * 8), 4.0),
        "audio": (random.standard_normal(32_000).astype(np.float32) * 0.1, 16_000.0),
        "points": (random.standard_normal((80, 3)).astype(np.float32), None),
    }


@pytest.mark.parametrize("modality", ["image", "video", "audio", "points"])
@torch.no_grad()
def test_patches_are_as_many_as_said(encoder, modality):
    array, rate = media()[modality]
    [tokens] = encoder.patches(modality, encoder.preprocess(modality, array, rate)[None])
    assert tokens.shape == (encoder.patch_counts()[modality], encoder.width)
    lengths = tokens.norm(dim=-1)
    if modality == "image":
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert (lengths < 1 + 1e-5).all()


@torch.no_grad()
def test_clips_are_averaged(encoder):
    array, rate = media()["video"]
    clips = encoder.preprocess("video", array, rate)
    [together] = encoder.patches("video", clips[None])
    apart = torch.stack([encoder.patches("video", clip[None, None])[0] for clip in clips])
    torch.testing.assert_close(together, apart.mean(0), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_larger_picture_has_more_patches():
    encoder = tiny_encoder()
    before = encoder.patch_counts()["image"]
    encoder.set_image_size(64)
    picture, _ = media()["image"]
    [tokens] = encoder.patches("image", encoder.preprocess("image", picture)[None])
    assert len(tokens) == encoder.patch_counts()["image"] == 4 * before


def test_an_unknown_modality_is_refused(encoder):
    with pytest.raises(ValueError, match="not smell"):
        encoder.patches("smell", torch.zeros(1, 3))
