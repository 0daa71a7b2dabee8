"""CLIP's, SigLIP's and SigLIP 2's towers of Transformers as encoders: the numbers are those of Transformers itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, CLIPVisionConfig, CLIPVisionModel

from encoders import load_encoder
from encoders.transformers_vision import TransformersVision, VisionSettings, load_processor, load_tower
from tests.tiny_transformers import PATCH, SIZE, STATISTICS, TOWER, WIDTH, save_clip, save_siglip, save_siglip2

SAVED = {"clip": save_clip, "siglip": save_siglip, "siglip2": save_siglip2}
#: Patches of a SIZE x SIZE image.
PATCHES = (SIZE // PATCH) ** 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of each kind."""
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVED.items()}


@pytest.fixture
def clip(saved, tmp_path):
    """A copy of the folder of a CLIP, to change."""
    return Path(shutil.copytree(saved["clip"], tmp_path / "clip"))


def picture(height=40, width=57):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", SAVED)
@torch.no_grad()
def test_the_numbers_are_those_of_transformers(saved, name):
    encoder = load_encoder(saved[name])
    tensor = encoder.preprocess("image", picture())
    inputs = AutoImageProcessor.from_pretrained(saved[name])(picture(), return_tensors="pt")
    whole = AutoModel.from_pretrained(saved[name]).vision_model(**inputs)
    expected = whole.last_hidden_state[0]
    if name == "siglip2":
        expected = functional.pad(expected[: int(inputs["pixel_attention_mask"].sum())], (0, 0, 0, 1))
    torch.testing.assert_close(encoder.patches("image", [tensor])[0], expected)
    torch.testing.assert_close(encoder.embed("image", [tensor]), functional.normalize(whole.pooler_output, dim=-1))


@pytest.mark.parametrize("name", SAVED)
def test_what_the_protocol_asks(saved, name):
    encoder = load_encoder(saved[name])
    tensors = [encoder.preprocess("image", each) for each in (picture(), picture(90, 20), picture()[..., 0])]
    tokens = encoder.patches("image", tensors)
    assert encoder.width == WIDTH and encoder.image_size == SIZE and len(encoder.identity) == 64
    assert {each.shape for each in tokens} == {(encoder.patch_counts()["image"], WIDTH)}
    alone = encoder.patches("image", tensors[1:2])[0]
    torch.testing.assert_close(alone, tokens[1])
    torch.testing.assert_close(encoder.embed("image", tensors).norm(dim=-1), torch.ones(3))
    with pytest.raises(ValueError, match="reads image, not audio"):
        encoder.preprocess("audio", np.zeros(9, np.float32))


@pytest.mark.parametrize("name", SAVED)
def test_larger_images(saved, name):
    encoder = load_encoder(saved[name])
    encoder.set_image_size(2 * SIZE)
    tensor = encoder.preprocess("image", picture(64, 64))
    tokens = encoder.patches("image", [tensor])[0]
    assert encoder.image_size == 2 * SIZE
    assert len(tokens) == encoder.patch_counts()["image"] == 4 * PATCHES + (name == "clip")
    with pytest.raises(ValueError, match="image size 50 must be a multiple of the tower's patch of 8"):
        encoder.set_image_size(50)


@torch.no_grad()
def test_llavas_tokens(clip):
    """Those of the layer before the last, without the class token."""
    (clip / "encoder.json").write_text('{"layer": -2, "class_token": false}')
    encoder = load_encoder(clip)
    tensor = encoder.preprocess("image", picture())
    states = CLIPVisionModel.from_pretrained(clip)(tensor[None], output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder.patches("image", [tensor])[0], states[-2][0, 1:])
    assert encoder.patch_counts() == {"image": PATCHES}


@pytest.mark.parametrize("size", [(40, 90), (90, 41), (50, 50)])
def test_llava_15_pads_to_a_square_of_the_mean_colour(clip, size):
    """Nothing of a wide or high image is cut off: as if its square had been given."""
    cropping = load_encoder(clip)
    (clip / "encoder.json").write_text('{"pad": true}')
    image = picture(*size)
    square = Image.new("RGB", (max(size), max(size)), tuple(int(255 * each) for each in STATISTICS["image_mean"]))
    square.paste(Image.fromarray(image), ((square.width - size[1]) // 2, (square.height - size[0]) // 2))
    found = load_encoder(clip).preprocess("image", image)
    torch.testing.assert_close(found, cropping.preprocess("image", np.array(square)))
    assert torch.equal(found, cropping.preprocess("image", image)) == (size[0] == size[1])


def test_a_tower_of_any_shape_is_not_padded(saved, tmp_path):
    shutil.copytree(saved["siglip2"], tmp_path / "siglip2")
    (tmp_path / "siglip2/encoder.json").write_text('{"pad": true}')
    with pytest.raises(ValueError, match="pad is true, and this SigLIP 2 tower takes images of any shape"):
        load_encoder(tmp_path / "siglip2")


def test_identity_is_of_weights_processor_and_settings(saved, clip):
    before = load_encoder(saved["clip"]).identity
    assert load_encoder(clip).identity == before
    (clip / "encoder.json").write_text('{"class_token": true}')
    assert load_encoder(clip).identity == before
    (clip / "encoder.json").write_text('{"class_token": false}')
    changed = load_encoder(clip).identity
    change_json(clip / "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    assert len({before, changed, load_encoder(clip).identity}) == 3


@pytest.mark.parametrize("name", SAVED)
def test_saved_and_loaded(saved, name, tmp_path):
    encoder = TransformersVision.from_pretrained(saved[name])
    encoder.save_pretrained(tmp_path / "again")
    again = load_encoder(tmp_path / "again")
    tensor = encoder.preprocess("image", picture())
    assert torch.equal(again.patches("image", [tensor])[0], encoder.patches("image", [tensor])[0])
    assert again.identity == encoder.identity


def test_a_tower_alone(tmp_path, saved):
    CLIPVisionModel(CLIPVisionConfig(**TOWER, image_size=SIZE)).save_pretrained(tmp_path)
    shutil.copy(saved["clip"] / "preprocessor_config.json", tmp_path)
    assert load_encoder(tmp_path).patch_counts() == {"image": PATCHES + 1}


def weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


NORM = "vision_model.encoder.layers.1.layer_norm1.bias"


def test_weights_that_are_missing_or_misshapen(clip):
    weights(clip, lambda tensors: tensors.update({NORM: torch.zeros(5)}))
    with pytest.raises(ValueError, match=r"layer_norm1.bias' has shape \(5,\), config.json says \(24,\)"):
        load_encoder(clip)
    weights(clip, lambda tensors: tensors.pop(NORM))
    with pytest.raises(ValueError, match=r"lacks the weight 'encoder.layers.1.layer_norm1.bias'"):
        load_tower(clip, device_map="meta")
    (clip / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="the vision tower cannot be read"):
        load_encoder(clip)


def test_a_preprocessor_that_is_missing_or_of_another_tower(clip):
    change_json(clip / "preprocessor_config.json", crop_size={"height": 40, "width": 40})
    with pytest.raises(ValueError, match=r"images of shape \(3, 40, 40\), the tower takes \(3, 32, 32\)"):
        load_encoder(clip)
    (clip / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"has no preprocessor_config.json"):
        load_encoder(clip)


def test_settings_that_cannot_be(clip):
    (clip / "encoder.json").write_text('{"layers": -2}')
    with pytest.raises(ValueError, match="unknown key 'layers'"):
        load_encoder(clip)
    with pytest.raises(ValueError, match="layer must be from -4 to 3, the tower has 3 layers, not -5"):
        TransformersVision(load_tower(clip), load_processor(clip), VisionSettings(layer=-5))


def test_another_model_of_transformers(clip):
    change_json(clip / "config.json", model_type="dinov2")
    with pytest.raises(ValueError, match=r"model_type must be one of clip, .*, not 'dinov2'"):
        load_encoder(clip)
