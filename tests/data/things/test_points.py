"""Kinds of 3D models, their surfaces as point clouds, and the credits of their makers."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.things import BankMissing, points
from data.things.points import model_kinds
from data.things.points.bank import read_obj, surface
from data.things.points.kinds import model_files
from tests.tiny_banks import CUBE, boxes


@pytest.fixture
def cubes(tmp_path, monkeypatch):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))
    with boxes(tmp_path) as folder:
        yield folder


def test_kinds_are_many_and_every_model_and_name_belongs_to_one():
    kinds = model_kinds().values()
    assert len(kinds) >= 100 and sum(bool(kind.held_out) for kind in kinds) >= 40
    assert len(set(model_files())) == len(model_files()) >= 550
    for language in ("en", "zh"):
        names = [name for kind in kinds for name in kind.names[language]]
        assert len(set(names)) == len(names)
    for kind in kinds:
        assert kind.models and bool(kind.held_out) == (len(kind.models) + len(kind.held_out) >= 4)


def test_every_model_has_its_credit():
    credits = (Path(points.__file__).parent / "CREDITS").read_text(encoding="utf-8")
    known = "".join(credits.split())
    assert [file for file in model_files() if file.partition("/")[2] not in known] == []
    assert "creativecommons.org/licenses/by/3.0" in credits


def test_the_surface_of_an_obj_file_is_evenly_covered():
    vertices, triangles = read_obj(CUBE)
    assert vertices.shape == (8, 3) and triangles.shape == (12, 3)
    cloud = surface(vertices * (1, 1, 3), triangles, 20_000, np.random.default_rng(0))
    assert np.linalg.norm(cloud, axis=1).max() == pytest.approx(1, abs=1e-5)
    ends = np.abs(cloud[:, 2]) > cloud[:, 2].max() - 1e-4
    assert ends.mean() == pytest.approx(2 / 14, abs=0.02)  # two squares of one, four sides of three


def test_clouds_are_turned_about_the_vertical_and_held_out_models_never_trained(cubes):
    drawn = [points.sample(1, index) for index in range(200)]
    assert drawn[3] == points.sample(1, 3)
    assert all(each.model in model_kinds()[each.kind].models for each in drawn)
    held_out = [points.sample(1, index, models="held_out") for index in range(100)]
    assert all(each.model in model_kinds()[each.kind].held_out for each in held_out)
    cloud = points.render_points(drawn[0], 500)
    assert cloud.shape == (500, 3) and cloud.dtype == np.float32
    assert np.linalg.norm(cloud, axis=1).max() == pytest.approx(1, abs=1e-5)
    assert np.ptp(cloud[:, 2]) > np.ptp(cloud[:, 0])  # upright still
    assert np.array_equal(cloud, points.render_points(drawn[0], 500))


def test_captions():
    assert points.caption(points.PointScene("armchair", "", 0)) == "an armchair"
    assert points.caption(points.PointScene("bamboo", "", 0)) == "some bamboo"
    assert points.caption(points.PointScene("sofa", "", 0), lambda kind: "couch") == "a couch"


def test_a_bank_of_other_models_is_said(cubes):
    (cubes / "files.json").write_text(json.dumps(["x.obj"] * len(model_files())))
    with pytest.raises(BankMissing, match="remove it and fetch the models again"):
        points.render_points(points.sample(1, 0))
