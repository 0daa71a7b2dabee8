"""torch and torchvision come from one source, and the lock file pins everything that pyproject.toml asks for."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import open_clip
import pytest
import torch
import torchvision

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [*PROJECT["dependencies"], *EXTRAS["dev"][1:], *EXTRAS["gguf"], *EXTRAS["onnx"]]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[tuple[str, str, str]]:
    """The lock file's entries: name, version, and everything up to the next entry."""
    return re.findall(r"^([\w.-]+)==([\w.+!]+)(.*?)(?=^[\w.-]+==|\Z)", LOCK, flags=re.MULTILINE | re.DOTALL)


def test_torch_and_torchvision_are_the_same_build():
    assert torch.__version__.partition("+")[2] == torchvision.__version__.partition("+")[2]


def test_torchvision_operators_run():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])  # (boxes, 4)
    assert torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]


def test_open_clip_imports():
    assert "ViT-H-14" in open_clip.list_models()


def test_exports_are_developed_with_their_packages():
    assert EXTRAS["dev"][0] == f"{PROJECT['name']}[gguf,onnx]"


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_lock_pins_every_requirement(requirement):
    name = re.match(r"[\w.-]+", requirement)
    assert name
    assert canonical(name.group()) in {canonical(pinned) for pinned, _, _ in pins()}


def test_every_pin_has_a_hash():
    assert len(pins()) > 80
    assert [name for name, _, rest in pins() if "--hash=sha256:" not in rest] == []


def test_lock_holds_no_address():
    address = r"https?://|file:|git\+|--(?:extra-)?index-url|--find-links|^\s*-f "
    assert re.findall(address, LOCK, flags=re.MULTILINE) == []


def test_installed_torch_is_the_locked_one():
    versions = {canonical(name): version for name, version, _ in pins()}
    for name in ("torch", "torchvision", "transformers", "diffusers", "gradio"):
        assert importlib.metadata.version(name).partition("+")[0] == versions[name]
