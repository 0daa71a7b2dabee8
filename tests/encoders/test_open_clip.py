"""The CLIP tower: OpenAI's names, all tokens, preprocessing, saving. Its numbers are held by tests/parity."""

import copy
import json

import numpy as np
import open_clip
import pytest
import torch

from encoders.open_clip import OpenClipConfig, OpenClipVision

SMALL = OpenClipConfig(size=16, patch=8, width=16, layers=2, heads=2, output_width=12)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return OpenClipVision(SMALL).eval()


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)


@torch.no_grad()
def test_all_tokens_are_normed_and_projected(tower):
    """The first is what open_clip itself pools."""
    pixels = torch.stack([tower.preprocess("image", picture(i)) for i in range(2)])
    tokens = tower(pixels)
    assert tokens.shape == (2, tower.tokens, tower.width) == (2, 5, 12)
    own = open_clip.transformer.VisionTransformer(
        16, 8, 16, 2, 2, 4.0, output_dim=12, act_layer=open_clip.transformer.QuickGELU
    ).eval()
    own.load_state_dict(tower.visual.state_dict())
    torch.testing.assert_close(tokens[:, 0], own(pixels), atol=1e-5, rtol=1e-4)


def test_the_names_are_those_of_a_whole_model_of_open_clip():
    """ViT-L/14 with QuickGELU, as V2 uses it: every name and shape, on the meta device."""
    with torch.device("meta"):
        whole = open_clip.CLIP(
            **{k: v for k, v in open_clip.get_model_config("ViT-L-14-quickgelu").items() if k != "custom_text"}
        )
        tower = OpenClipVision(OpenClipConfig())
    shapes = {name: value.shape for name, value in whole.visual.state_dict().items()}
    assert shapes == {name: value.shape for name, value in tower.visual.state_dict().items()}
    assert (tower.tokens, tower.width) == (257, 768)


def test_saved_and_loaded(tower, tmp_path):
    tower.save_pretrained(tmp_path)
    again = OpenClipVision.from_pretrained(tmp_path)
    pixels = tower.preprocess("image", picture())[None]
    with torch.no_grad():
        assert torch.equal(again(pixels), tower(pixels))
    assert again.identity == tower.identity and len(again.identity) == 64
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    (tmp_path / "config.json").write_text(json.dumps({"depth": 3}))
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        OpenClipVision.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("proj"), "lacks 1 of .* keys, the first is 'proj'"),
        (lambda s: s.update(head=torch.zeros(1)), "has 1 unknown keys, the first is 'head'"),
        (lambda s: s.update(proj=torch.zeros(3, 4)), r"'proj' has shape \(3, 4\), expected \(16, 12\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tower, change, said):
    state = dict(tower.visual.state_dict())
    change(state)
    with pytest.raises(ValueError, match=said):
        OpenClipVision(SMALL).load(state)


def test_released_weights_saw_red_and_blue_exchanged(tower):
    other = OpenClipVision(OpenClipConfig(**{**SMALL.__dict__, "channels": "bgr"}))
    turned = np.ascontiguousarray(picture()[..., ::-1])
    assert torch.equal(other.preprocess("image", picture()), tower.preprocess("image", turned))
    assert not torch.equal(other.preprocess("image", picture()), tower.preprocess("image", picture()))


@torch.no_grad()
def test_larger_pictures_have_interpolated_positions(tower):
    """Between two old places stand their mixtures; the class token keeps its own, and so does every other weight."""
    larger = copy.deepcopy(tower)
    larger.set_image_size(32)
    pixels = larger.preprocess("image", picture())[None]
    assert pixels.shape == (1, 3, 32, 32) and larger(pixels).shape == (1, larger.tokens, 12) == (1, 17, 12)
    old, new = tower.visual.positional_embedding, larger.visual.positional_embedding
    grid = old[1:].T.reshape(1, -1, 2, 2)
    expected = torch.nn.functional.interpolate(grid, (4, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(new[1:], expected[0].flatten(1).T)
    assert torch.equal(new[0], old[0])


@torch.no_grad()
def test_the_size_that_it_has_changes_nothing(tower):
    same = copy.deepcopy(tower)
    same.set_image_size(16)
    pixels = tower.preprocess("image", picture())[None]
    assert torch.equal(same(pixels), tower(pixels))


@torch.no_grad()
def test_a_resized_tower_is_saved_as_it_is(tower, tmp_path):
    larger = copy.deepcopy(tower)
    larger.set_image_size(24)
    larger.save_pretrained(tmp_path)
    pixels = larger.preprocess("image", picture())[None]
    assert torch.equal(OpenClipVision.from_pretrained(tmp_path)(pixels), larger(pixels))


def test_bad_settings_are_refused(tower):
    with pytest.raises(ValueError, match="unknown channels 'gbr': expected one of rgb, bgr"):
        OpenClipConfig(channels="gbr")
    with pytest.raises(ValueError, match="size 20 must be a multiple of patch 14"):
        OpenClipConfig(size=20)
    with pytest.raises(ValueError, match="size 20 must be a multiple of patch 8"):
        tower.set_image_size(20)
    with pytest.raises(ValueError, match="reads image, not audio"):
        tower.preprocess("audio", picture())
