"""The task of an encoder's towers: media of each kind are read, one tower learns, and the rest stays as it is."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from data.parts import VARIABLE
from data.things.sounds.scenes import caption as sound_caption
from encoders import load_encoder
from encoders.image_reader import ReaderConfig
from encoders.trunk_encoder import TrunkEncoder, TrunkEncoderConfig
from tests.tiny_banks import boxes, plain_sounds
from tests.tiny_parts import write_parts
from train.foundations.encoder.phrase_media import DISTURBED, ThingsMedia
from train.foundations.encoder.phrase_reader import PhraseObjective, PhraseReaderTask
from train.settings import RecipeError
from train.worlds.things_world import ThingsStream

READER = {"width": 16, "depth": 1, "heads": 2}
SIZES = {
    "video": READER | {"frames": 2, "objects": 3},
    "audio": READER | {"channels": 4},
    "points": READER | {"points": 40, "groups": 6, "group_size": 8, "patch_widths": [4, 4, 8], "point_depth": 1},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    write_parts(folder)
    with plain_sounds(folder), boxes(folder):
        yield folder


@pytest.fixture(autouse=True)
def parts(cache, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(cache))
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def image_encoder(cache):
    """An encoder that reads images alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(cache))
        image = ReaderConfig(width=16, depth=1, heads=2, objects=3)
        return TrunkEncoder.from_parts(TrunkEncoderConfig(image=image)).eval()


def task_of(modality, folder, **changes):
    settings = {"modality": modality, "sizes": SIZES[modality], "pool": 8, "held_out": 16, "outsiders": 0.2}
    return PhraseReaderTask(settings | {"cache_dir": str(folder / "pools")} | changes, folder)


@pytest.mark.parametrize("modality", ["video", "audio", "points"])
def test_a_tower_learns_and_is_added_to_the_encoder(modality, image_encoder, tmp_path):
    image_encoder.save_pretrained(tmp_path / "encoder")
    task = task_of(modality, tmp_path)
    batch = task.collate([task.dataset[index] for index in range(8)])
    assert set(batch) == {"features", "captions", "phrases"} and batch["phrases"].shape == (8, 8, 24)
    optimiser = torch.optim.Adam(task.parts()["reader"], lr=1e-2)
    losses = []
    for _ in range(12):
        loss = task.model(**batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    figures = task.evaluate()
    assert {"presence", "thing"} <= set(figures) and all(0 <= value <= 1 for value in figures.values())
    task.export(tmp_path)
    encoder = load_encoder(tmp_path / "encoder")
    assert isinstance(encoder, TrunkEncoder) and encoder.modalities == ("image", modality)
    pixels = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(encoder.embed("image", pixels), image_encoder.embed("image", pixels), atol=1e-2, rtol=0)
    assert asdict(encoder.config)[modality]["width"] == 16


def test_an_export_keeps_what_the_folder_holds_by_then(image_encoder, tmp_path):
    task = task_of("points", tmp_path)
    task.export(tmp_path)
    assert load_encoder(tmp_path / "encoder").modalities == ("image", "points")
    task_of("audio", tmp_path).export(tmp_path)
    task.export(tmp_path)
    assert load_encoder(tmp_path / "encoder").modalities == ("image", "audio", "points")
    again = task_of("points", tmp_path, start="encoder", sizes={}).model.tower
    for name, value in task.model.tower.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-2, rtol=1e-2)
    with pytest.raises(RecipeError, match=r"no encoder in .*: train the recipe image_reader first"):
        task_of("video", tmp_path / "elsewhere")
    with pytest.raises(RecipeError, match="reads no video"):
        task_of("video", tmp_path, start="encoder")


def test_how_often_something_is_heard_is_always_said():
    media, plain = (ThingsMedia(ThingsStream("audio", 3), share) for share in (0.4, 0.0))
    scenes = [plain.scene(index) for index in range(60)]
    unsaid = [index for index, scene in enumerate(scenes) if scene != plain.stream.scene(index)]
    assert unsaid and all(plain.caption(index) != sound_caption(plain.stream.scene(index)) for index in unsaid)
    outsiders = [index for index in range(60) if media.scene(index) is None]
    assert 10 < len(outsiders) < 40 and {media.caption(index) for index in outsiders} == {""}
    assert media.medium(outsiders[0]).shape == (32_000,)
    wordings = {plain.caption(index, np.random.default_rng(seed)) for index in range(60) for seed in range(3)}
    assert len(wordings) > 60


@pytest.mark.parametrize("modality", ["audio", "points"])
def test_media_are_disturbed_anew_and_stay_in_their_form(modality, image_encoder, tmp_path):
    image_encoder.save_pretrained(tmp_path / "encoder")
    task = task_of(modality, tmp_path)
    features = task.dataset.features[0].float()
    for seed in range(40):
        other = DISTURBED[modality](features, np.random.default_rng(seed), task.encoder)
        assert other.shape == features.shape and other.isfinite().all() and not torch.equal(other, features)
        if modality == "audio":  # it is never lost
            assert other.max() > features.max() - 1.5 and other.min() >= features.min() - 0.01
        else:
            assert other.norm(dim=-1).max() == pytest.approx(1, abs=1e-4)
            assert abs(float(other.mean())) < 1e-4


def test_phrases_compete_with_those_of_their_slot_and_with_names():
    eye = torch.eye(6)
    objective = PhraseObjective(torch.nn.Identity(), eye[:3], 1.0)  # pyright: ignore[reportArgumentType]  # not called
    phrases = torch.zeros(2, 8, 6)
    phrases[0, 0], phrases[1, 0], phrases[0, 1] = eye[1], eye[4], eye[5]
    said = phrases.any(-1)
    assert len(objective.table(phrases, 0)) == 4 and len(objective.table(phrases, 1)) == 1
    right = objective.phrase_loss(phrases, phrases, said)
    wrong = objective.phrase_loss(phrases.flip(0), phrases, said)
    assert right < 1e-4 and wrong > 5
    assert objective.phrase_loss(phrases, 0 * phrases, said & False) == 0
