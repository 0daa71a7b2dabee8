"""The bank of 3D models: each of the table's models as a dense cloud of its surface, made once.

Models come as archives of Sweet Home 3D: OBJ files, y up, and a catalogue that says how each is turned and how large it
is. The clouds lie in ``clouds.npy``, float16 (models, 4096, 3), z up; ``files.json`` says which row is which model.

Shapes: V vertices, T triangles, P points.
"""

import json
import re
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from data.things.points.kinds import model_files
from data.things.sources import BankMissing, SourceError, bank_folder

DENSE = 4096
#: A line of the archives' catalogues that says something of a model: "width#12=59.4".
_ENTRY = re.compile(r"^(model|modelRotation|width|depth|height)#(\d+)=(.*)$", re.MULTILINE)


@cache
def clouds() -> dict[str, np.ndarray]:
    """File of each model -> its cloud, float16 (P, 3). BankMissing where the bank is not there."""
    folder = bank_folder("models")
    rows = np.load(folder / "clouds.npy", mmap_mode="r")
    found = dict(zip(json.loads((folder / "files.json").read_text()), rows, strict=True))
    if missing := set(model_files()) - found.keys():
        raise BankMissing(f"{folder} was made before there was {min(missing)}: remove it and fetch the models again")
    return found


def build_models(files: Path, out: Path) -> None:
    """Write the clouds of all models of the table. SourceError where one is not in the archives of ``files``."""
    archives = [zipfile.ZipFile(path) for path in sorted(files.glob("*.sh3f"))]
    found = {name: (archive, entry) for archive in archives for name, entry in _catalogue(archive).items()}
    dense, names = [], model_files()
    for number, name in enumerate(names):
        if name not in found:
            raise SourceError(f"models: {name} is not in the archives")
        archive, entry = found[name]
        vertices, triangles = read_obj(archive.read(name).decode("latin-1"))
        points = surface(_placed(vertices, entry), triangles, DENSE, np.random.default_rng(number))
        dense.append(points.astype(np.float16))
    np.save(out / "clouds.npy", np.stack(dense))
    (out / "files.json").write_text(json.dumps(names))


def _catalogue(archive: zipfile.ZipFile) -> dict[str, dict[str, str]]:
    """OBJ file -> what the archive's catalogue says of it."""
    text = archive.read("PluginFurnitureCatalog.properties").decode("latin-1")
    entries: dict[str, dict[str, str]] = {}
    for key, number, value in _ENTRY.findall(text):
        entries.setdefault(number, {})[key] = value.strip()
    return {entry["model"].lstrip("/"): entry for entry in entries.values()}


def read_obj(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (T, 3) of an OBJ file; polygons are cut into fans."""
    vertices, triangles = [], []
    for line in text.splitlines():
        if line.startswith("v "):
            vertices.append(line.split()[1:4])
        elif line.startswith("f "):
            corners = [int(corner.partition("/")[0]) for corner in line.split()[1:]]
            corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
            triangles += [(corners[0], *corners[i : i + 2]) for i in range(1, len(corners) - 1)]
    return np.array(vertices, float), np.array(triangles, int)


def _placed(vertices: np.ndarray, entry: dict[str, str]) -> np.ndarray:
    """Turned and sized as the catalogue says, z up."""
    if rotation := entry.get("modelRotation"):
        vertices = vertices @ np.array(rotation.split(), float).reshape(3, 3).T
    extent = np.ptp(vertices, axis=0)
    size = np.array([float(entry[key]) for key in ("width", "height", "depth")])
    vertices = vertices * np.where(extent > 1e-9, size / np.maximum(extent, 1e-9), 1)
    return vertices[:, [0, 2, 1]] * (1, -1, 1)


def surface(vertices: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` points (P, 3) spread evenly over triangles, centred, the farthest at 1."""
    first, second, third = (vertices[triangles[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    chosen = rng.choice(len(areas), count, p=areas / areas.sum())
    one, other = rng.uniform(size=(2, count, 1))
    outside = one + other > 1
    one, other = np.where(outside, 1 - one, one), np.where(outside, 1 - other, other)
    points = first[chosen] + one * (second - first)[chosen] + other * (third - first)[chosen]
    return unit_cloud(points)


def unit_cloud(points: np.ndarray) -> np.ndarray:
    """``points`` (P, 3) moved so that their box is centred, and scaled so that the farthest lies at 1, float32."""
    centred = points - (points.max(0) + points.min(0)) / 2
    return (centred / np.linalg.norm(centred, axis=1).max()).astype(np.float32)
