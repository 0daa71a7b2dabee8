"""The encoder's training: exact pools, fair negatives, and two steps that move every tower."""

import numpy as np
import pytest
import torch

from data import toybox
from encoders import MediaEncoder
from train.foundations.autoencoders.image_vae import ImageVaeTask
from train.foundations.encoder.contrast import ContrastTask
from train.foundations.encoder.linear_probe import fit_probe
from train.foundations.encoder.phrases import (
    ATTRIBUTES,
    ToyboxPhrases,
    caption,
    decode_attributes,
    encode_attributes,
    from_storage,
    partial_attributes,
)
from train.recipe import RecipeError

TINY = {
    "shared_width": 16, "image_size": 32, "vision_width": 16, "vision_depth": 1, "audio_width": 16, "audio_depth": 1,
    "text_width": 16, "text_depth": 1, "images": 16, "videos": 8, "sounds": 8, "clouds": 8, "outsider_every": 4,
    "held_out": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> ContrastTask:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("contrast")
    return ContrastTask(TINY | {"cache": str(folder / "cache")}, folder)


def test_codes_survive():
    for modality in toybox.MODALITIES:
        attributes = toybox.visible(toybox.sample(3, 1), modality)
        assert decode_attributes(encode_attributes(attributes, ATTRIBUTES), ATTRIBUTES) == attributes


def test_pools_hold_what_the_encoder_sees(task):
    for modality, (stored, codes) in task.pools.items():
        scene = toybox.sample(31, 1)
        rate = 4 if modality == "video" else None
        expected = task.encoder.preprocess(modality, toybox.render(scene, modality), rate)
        found = from_storage(modality, torch.from_numpy(np.asarray(stored[1:2])), task.encoder)[0]
        assert torch.allclose(found, expected, atol=2e-3)
        assert decode_attributes(codes[1], ATTRIBUTES) == toybox.visible(scene, modality)
        assert decode_attributes(codes[3], ATTRIBUTES) == {"thing": "unknown"}


def test_items_depend_on_the_index_only(task):
    first, again = task.dataset[17], task.dataset[17]
    assert first["text"] == again["text"] and np.array_equal(first["medium"], again["medium"])


def test_captions_are_exact():
    attributes = {"thing": "bell", "colour": "red", "count": 2}
    rng = np.random.default_rng(0)
    for _ in range(20):
        part = partial_attributes(attributes, rng)
        assert part["count"] == 2 and set(part) > {"count"}
    assert toybox.parse_reply(caption({"thing": "bell", "colour": "red"}, "image", "en", rng))["colour"] == "red"
    assert caption({"thing": "unknown"}, "image", "zh", rng).endswith("东西")


def test_one_phrase_for_each_value():
    for language in ("en", "zh"):
        phrases = ToyboxPhrases(0, 0).phrases(language)
        assert len(phrases) == len(set(phrases)) == sum(map(len, ATTRIBUTES.values()))


def test_a_text_that_fits_is_no_negative(task):
    units = torch.eye(16)[:2]
    bell = torch.from_numpy(encode_attributes({"thing": "bell"}, ATTRIBUTES))
    red = torch.from_numpy(encode_attributes({"thing": "bell", "colour": "red"}, ATTRIBUTES))
    fits = task.model._contrast(units, torch.stack([red, red]), units.flip(0), torch.stack([bell, red]))
    differs = task.model._contrast(units, torch.stack([red, bell]), units.flip(0), torch.stack([red, bell]))
    assert fits == 0 and differs > 1


def test_two_steps_move_every_tower(task):
    batch = task.collate([task.dataset[index] for index in range(24)])
    parts = task.parts()
    assert sum(len(part) for part in parts.values()) == len(list(task.model.parameters()))
    before = {name: [parameter.detach().clone() for parameter in part] for name, part in parts.items()}
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        outputs = task.model(**batch)
        optimiser.zero_grad()
        outputs["loss"].backward()
        optimiser.step()
        losses.append(outputs["loss"].item())
    assert losses[-1] < losses[0]
    for name, part in parts.items():
        assert any(not torch.equal(old, new) for old, new in zip(before[name], part, strict=True)), name


def test_export_and_evaluate(task, tmp_path):
    task.export(tmp_path)
    assert MediaEncoder.from_pretrained(tmp_path / "encoder").width == 16
    figures = task.evaluate()
    assert {"image.colour", "video.held_out_pairs.thing", "audio.pitch", "points.outsiders.declined"} <= set(figures)
    assert all(0 <= value <= 1 for value in figures.values())


def test_a_probe_finds_what_is_linear():
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(300, 8, generator=generator), dim=-1)
    codes = (points[:, 0] > 0).long()
    assert (fit_probe(points, codes, 2)(points).argmax(-1) == codes).float().mean() > 0.98


def test_unknown_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="vison_width"):
        ContrastTask({"vison_width": 3}, tmp_path)


@pytest.fixture(scope="module")
def sturdy(task, tmp_path_factory) -> ContrastTask:
    """A task that goes on from an encoder, with pictures by way of an image VAE that has learnt nothing yet."""
    folder = tmp_path_factory.mktemp("sturdy")
    torch.manual_seed(1)
    task.export(folder)
    sizes = {"image_size": 32, "block_out_channels": (4, 4, 4, 4), "latent_channels": 2, "pictures": 8, "held_out": 2}
    ImageVaeTask(sizes, folder).export(folder)
    settings = {"start": "encoder", "rough": 1.0, "shares": {"image": 0.5, "video": 0.5}}
    settings |= {"keep_weight": 1.0, "contrast_weight": 0.0, "attribute_weight": 0.0}
    counts = {name: TINY[name] for name in ("images", "videos", "image_size", "outsider_every", "held_out")}
    return ContrastTask(counts | {"sounds": 0, "clouds": 0, "cache": str(folder / "cache")} | settings, folder)


def test_rough_pictures_stand_for_their_own(sturdy):
    items = [sturdy.dataset[index] for index in range(24)]
    for item in items:
        changed = not np.array_equal(item["medium"], item["undisturbed"])
        assert changed == (item["modality"] == "image")
        assert item["medium"].shape == item["undisturbed"].shape
    batch = sturdy.collate(items)
    assert batch["undisturbed_image"].shape == batch["image"].shape
    assert batch["undisturbed_video"].shape == batch["video"].shape


def test_an_encoder_that_keeps_to_what_it_was_comes_nearer_to_it(sturdy):
    torch.manual_seed(0)
    batch = sturdy.collate([sturdy.dataset[index] for index in range(24)])
    kept = [parameter.clone() for parameter in sturdy.model.kept.parameters()]
    optimiser = torch.optim.AdamW(sturdy.parts()["vision"], lr=3e-3)
    away = []
    for _ in range(6):
        outputs = sturdy.model(**batch)
        optimiser.zero_grad()
        outputs["loss"].backward()
        optimiser.step()
        away.append(float(outputs["away"]))
    assert away[-1] < away[0]
    assert all(torch.equal(old, new) for old, new in zip(kept, sturdy.model.kept.parameters(), strict=True))


def test_there_must_be_an_encoder_to_keep_to(tmp_path):
    with pytest.raises(RecipeError, match="keep_weight must be 0"):
        ContrastTask(TINY | {"keep_weight": 1.0, "cache": str(tmp_path)}, tmp_path)
