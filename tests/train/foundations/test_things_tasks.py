"""The tasks that learn from the world of things train, export what loads, and their losses say what they should."""

import pytest
import torch

from data import things
from data.parts import VARIABLE
from decoders.layout import load_layout
from encoders import load_encoder
from tests.tiny_parts import write_parts
from train.dialogues.targets import caption_encoders
from train.foundations.diffusion.layout import LayoutTask
from train.foundations.encoder.image_reader import ImageReaderTask, match, overlap, targets
from train.worlds import ThingsWorld, open_world


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    write_parts(folder)
    return folder


@pytest.fixture(autouse=True)
def parts(cache, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(cache))


def test_recipes_name_the_world_of_things():
    world = open_world([{"things": True}])
    assert isinstance(world, ThingsWorld)
    stream = world.stream("image", 3)
    assert stream.medium(5, 64).shape == (64, 64, 3) and stream.mask(5, 64).shape == (64, 64)
    assert stream.caption(5) == things.caption(things.sample(3, 5))


def test_the_reader_learns_and_is_exported(tmp_path):
    torch.manual_seed(0)
    task = ImageReaderTask({"held_out": 32, "pool": 12, "cache_dir": str(tmp_path / "pools")}, tmp_path)
    batch = task.collate([task.dataset[index] for index in range(4)])
    optimiser = torch.optim.Adam(task.parts()["reader"], lr=3e-3)
    losses = []
    for _ in range(6):
        loss = task.model(**batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    task.export(tmp_path)
    assert load_encoder(tmp_path / "encoder").patch_counts() == {"image": 10}


def test_each_thing_is_given_the_query_that_fits_it():
    scene = things.sample(1, 3, "beside")
    names, _, boxes = targets(scene)
    table = torch.nn.functional.normalize(torch.randn(len(things.catalogue()), 16), dim=-1)
    read = {"name": table[torch.tensor([int(names[1]), 7, int(names[0])])][None], "presence": torch.zeros(1, 3)}
    read["box"] = boxes[[1, 3, 0]][None] + 0.01
    assert match(read, names[None], boxes[None], table)[0].tolist()[:2] == [2, 0]
    assert match(read, targets(None)[0][None], boxes[None], table)[0].tolist() == [-1] * 5


def test_overlap_of_boxes():
    first, second = torch.tensor([0.5, 0.5, 0.4, 0.4]), torch.tensor([0.7, 0.5, 0.4, 0.4])
    assert overlap(first, first).item() == pytest.approx(1.0)
    assert overlap(first, second).item() == pytest.approx(1 / 3)
    assert overlap(first, torch.tensor([0.9, 0.9, 0.1, 0.1])).item() == 0


def test_the_layout_is_learned_and_exported(tmp_path):
    torch.manual_seed(0)
    task = LayoutTask({"held_out": 8}, tmp_path)
    batch = task.collate([task.dataset[index] for index in range(8)])
    optimiser = torch.optim.Adam(task.parts()["layout"], lr=3e-3)
    losses = []
    for _ in range(15):
        parts = task.model(**batch)
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        losses.append(float(parts["box"] + parts["thing"]))
    assert losses[-1] < 0.7 * losses[0]
    task.export(tmp_path)
    # Stages can aim at its conditions before the rest of the decoder is trained.
    aim = caption_encoders(tmp_path)["image"]
    assert aim.encode_caption(["a cat on the left"]).shape == (1, *aim.condition_shape) == (1, 8, 24)
    _, pictures = load_layout(tmp_path / "image_decoder" / "layout")
    assert pictures.names == list(things.catalogue()) and pictures.pixels.shape[1:] == (128, 128, 4)
