"""Released checkpoints: read whole or refused by name; a pickle that is more than tensors is never run."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from encoders import ImageBind, ImageBindConfig, PointConfig, PointEncoder, TowerConfig, load_imagebind, load_points

CONFIG = ImageBindConfig(
    8,
    {
        "imu": TowerConfig(8, 1, 2, (6, 40), (8,), (8,), logit_scale=5.0),
        "text": TowerConfig(8, 1, 2, (5,), vocabulary=20, logit_scale=10.0),
    },
)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {name: value.clone() for name, value in ImageBind(CONFIG).state_dict().items()}


def write(state, path):
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_what_is_written_is_read(state, tmp_path, name):
    halved = {key: value.half() for key, value in state.items()}
    model = load_imagebind(write(halved, tmp_path / name), CONFIG)
    assert not model.training
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, halved[key].float()), key
    ids = torch.tensor([[1, 4, 19, 0, 0]])
    with torch.no_grad():
        assert model({"text": ids})["text"].isfinite().all()


def change(state, name):
    if name == "missing":
        del state["modality_heads.imu.3.weight"]
    elif name == "unknown":
        state["modality_heads.smell"] = torch.zeros(1)
    elif name == "shape":
        state["modality_heads.imu.3.weight"] = torch.zeros(8, 9)
    else:
        state["modality_heads.imu.0.bias"][2] = torch.nan


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("missing", r"lacks 1 of \d+ keys, the first is 'modality_heads.imu.3.weight'"),
        ("unknown", "1 unknown keys, the first is 'modality_heads.smell'"),
        ("shape", r"'modality_heads.imu.3.weight' has shape \(8, 9\), expected \(8, 8\)"),
        ("nan", "'modality_heads.imu.0.bias' holds values that are not finite"),
    ],
)
def test_what_does_not_fit_is_named(state, tmp_path, damage, sentence):
    change(state, damage)
    with pytest.raises(ValueError, match=sentence):
        load_imagebind(write(state, tmp_path / "model.safetensors"), CONFIG)


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_a_pickle_is_never_executed(tmp_path):
    path, target = tmp_path / "model.pth", tmp_path / "executed"
    torch.save({"modality_heads.imu.0.bias": Trap(target)}, path)
    with pytest.raises(ValueError, match="is not a file of tensors alone"):
        load_imagebind(path, CONFIG)
    path.write_bytes(pickle.dumps(Trap(target)))
    with pytest.raises(ValueError, match="is not a file of tensors alone"):
        load_imagebind(path, CONFIG)
    assert not target.exists()
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_imagebind(tmp_path / "nowhere.pth", CONFIG)


def test_point_encoders_with_and_without_batch_counters(tmp_path):
    config = PointConfig(
        width=8, depth=1, heads=2, groups=4, group_size=4, patch_widths=(4, 4, 8), patch_output=8,
        position_width=4, projection_width=8, shared_width=8, points=16,
    )  # fmt: skip
    state = PointEncoder(config).state_dict()
    without = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    for number, values in enumerate((state, without)):
        loaded = load_points(write(values, tmp_path / f"{number}.pth"), config)
        assert torch.equal(loaded.head[2].weight, state["head.2.weight"])
    del without["enc.cls_pos"]
    with pytest.raises(ValueError, match=r"enc\.cls_pos"):
        load_points(write(without, tmp_path / "less.pth"), config)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_weights_of_full_size_are_loaded(tmp_path):
    """Writes and maps 4.8 GB; encodes one text and one motion recording with them."""
    with torch.device("meta"):
        empty = ImageBind(ImageBindConfig.huge()).state_dict()
    state = {name: torch.empty(value.shape).normal_(std=0.02) for name, value in empty.items()}
    state["modality_preprocessors.text.mask"] = torch.full((77, 77), float("-inf")).triu(1)
    torch.save(state, tmp_path / "huge.pth")
    del state
    model = load_imagebind(tmp_path / "huge.pth")
    ids = torch.zeros(1, 77, dtype=torch.long)
    ids[0, :3] = torch.tensor([49406, 320, 49407])
    with torch.no_grad():
        embedded = model({"text": ids, "imu": torch.randn(1, 6, 2000)})
    assert all(value.shape == (1, 1024) and value.isfinite().all() for value in embedded.values())
