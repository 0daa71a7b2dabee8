"""A lock of two small parts, their wheels in a local folder as the package index, and a cache folder."""

import hashlib
import json
import zipfile

import pytest
import torch
import yaml
from safetensors.torch import save

from data import parts
from nextgpt_lite.parts import lock

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Index:
    """What the tests change: ``wheels`` is the index, ``lock`` a mapping that :meth:`write_lock` writes."""

    def __init__(self, folder):
        self.wheels, self.cache, self.lock_file = folder / "wheels", folder / "cache", folder / "parts.yaml"
        self.wheels.mkdir()
        self.lock = {}
        weights = save({"weight": torch.arange(2000, dtype=torch.float32)})
        files = {f"tiny_encoder/model/{name}": json.dumps({"file": name}).encode() for name in MODEL_FILES}
        files["tiny_encoder/model/model.safetensors"] = weights
        self.add("minilm", "tiny-encoder", files)
        pickled = folder / "trunk.pth"
        torch.save({"weight": torch.ones(3), "bias": torch.zeros(2)}, pickled)
        names = json.dumps(["cat", "dog"]).encode()
        self.add(
            "efficientnet",
            "tiny-trunk",
            {"tiny_trunk/trunk.pth": pickled.read_bytes(), "tiny_trunk/imagenet1k_clean_names.json": names},
        )
        minilm = {name: files[f"tiny_encoder/model/{name}"] for name in MODEL_FILES}
        self.expect("minilm", minilm)
        trunk = save({"weight": torch.ones(3), "bias": torch.zeros(2)}, {"format": "pt"})
        classes = json.dumps({"classes": ["cat", "dog"]}, indent=2).encode() + b"\n"
        self.expect("efficientnet", {"model.safetensors": trunk, "classes.json": classes})
        self.write_lock()

    def add(self, name, package, files):
        """A wheel of ``files`` in the index, and the part ``name`` that is made of it."""
        stem = package.replace("-", "_")
        path = self.wheels / f"{stem}-1.0-py3-none-any.whl"
        information = {
            "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Dist: no-such-package\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files.items():
                archive.writestr(file, content)
            for file, text in information.items():
                archive.writestr(f"{stem}-1.0.dist-info/{file}", text)
        content = path.read_bytes()
        wheel = {"package": package, "version": "1.0", "file": path.name, "sha256": sha256(content)}
        wheel |= {"bytes": len(content), "licence": "MIT"}
        self.lock[name] = {
            "becomes": f"a small {name}",
            "licence": "MIT",
            "attribution": "the tests",
            "wheels": [wheel],
        }

    def expect(self, name, files):
        """The files that the part ``name`` becomes."""
        self.lock[name]["files"] = {
            file: {"sha256": sha256(content), "bytes": len(content)} for file, content in files.items()
        }

    def write_lock(self):
        self.lock_file.write_text(yaml.safe_dump(self.lock, sort_keys=False))
        lock.read_lock.cache_clear()

    def left(self):
        """Everything in the cache folder but the lock of the processes."""
        found = [path.relative_to(self.cache).as_posix() for path in self.cache.rglob("*") if path.is_file()]
        return sorted(file for file in found if file != ".lock")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """pip knows this index and no other."""
    made = Index(tmp_path)
    monkeypatch.setattr(lock, "LOCK_FILE", made.lock_file)
    monkeypatch.setenv(parts.VARIABLE, str(made.cache))
    for name, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(made.wheels)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    yield made
    lock.read_lock.cache_clear()
