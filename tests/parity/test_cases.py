"""The frame of the parity tests can fail: values off, shapes off, NaN, unknown kinds, empty folders."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.parity.cases import FOLDER_VARIABLE, Comparison, faults, find_cases, helper


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """A golden folder with one small system: a case, its weights, a key table, a list of errors."""
    folder = tmp_path / "toy"
    folder.mkdir()
    weights = {"weights/a": torch.ones(2), "weights/lora_b": torch.zeros(3), "weights/c": torch.zeros(1)}
    save_file(weights, folder / "shared.safetensors")
    save_file({"weights/a": torch.full((2,), 5.0), "outputs/y": torch.ones(4)}, folder / "one.safetensors")
    source = {"file": "shared.safetensors", "drop_if_name_contains": ["lora"], "drop_names": ["c"]}
    records = {
        "one": {"case": "first", "system": "toy", "config": {"width": 3}, "weights_from": source},
        "shared": {"case": "shared", "system": "toy", "shapes": dict.fromkeys(weights, "")},
        "table": {"key": [[2, 3], "float32"]},
        "refused": {"note": "", "cases": {"odd": {"config": {}, "error": "ValueError: odd"}}},
    }
    for name, record in records.items():
        (folder / f"{name}.json").write_text(json.dumps(record))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return folder


def test_cases_come_from_the_folder_that_the_environment_names(golden):
    cases = {case.path.stem: case for case in find_cases()}
    assert set(cases) == {"one", "shared", "table", "refused"}
    assert [case.system for case in cases.values()] == ["toy"] * 4
    one = cases["one"]
    assert one.name == "first" and one.config == {"width": 3}
    assert set(one.group("outputs/")) == {"y"}
    assert {name: weight.tolist() for name, weight in one.weights().items()} == {"a": [5.0, 5.0]}


def test_what_serves_cases_is_told_by_its_content(golden):
    assert {case.path.stem: helper(case) for case in find_cases()} == {
        "one": None, "shared": "weights", "table": "keys", "refused": "errors",
    }  # fmt: skip


def test_a_folder_without_cases_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match="no golden cases"):
        find_cases()


def test_comparisons_are_relative_to_the_largest_reference_value():
    reference = torch.tensor([1.0, -100.0, float("-inf")])
    near, far = reference + torch.tensor([9e-4, 0.0, 0.0]), reference + torch.tensor([2e-3, 0.0, 0.0])
    assert faults([Comparison("near", near, reference, 1e-5)]) == []
    assert "far" in faults([Comparison("far", far, reference, 1e-5)])[0]


@pytest.mark.parametrize(
    ("ours", "tolerance"),
    [(torch.tensor([1.0, float("nan")]), 1e-5), (torch.ones(2, 1), 1e-5), (torch.tensor([1, 3]), 0.0)],
    ids=["nan", "shape", "id"],
)
def test_a_fault_is_found(ours, tolerance):
    assert len(faults([Comparison("y", ours, torch.tensor([1, 2]), tolerance)])) == 1


@pytest.mark.parametrize("system", ["imagebind", "llama_adapter", "longlora", "nextgpt"])
def test_an_unknown_kind_of_a_known_system_fails(golden, system):
    from tests.parity.test_parity import comparisons_of

    record = {"case": "new", "system": system, "config": {"width": 3}, "keys": {"outputs/y": ""}}
    (golden / "one.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"kind|unknown"):
        comparisons_of(find_cases()[0])


def test_an_unknown_system_fails(golden):
    from tests.parity.test_parity import comparisons_of

    with pytest.raises(ValueError, match="no parity tests for system 'toy'"):
        comparisons_of(find_cases()[0])
