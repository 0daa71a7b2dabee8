"""A small model runs on one thread, unless the environment says how many."""

import pytest
import torch

from nextgpt_lite import any_to_any


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("environment", "small", "expected"), [({}, 1 << 40, 1), ({}, 1, 2), ({"OMP_NUM_THREADS": "3"}, 1 << 40, 3)]
)
def test_threads_suit_the_model(tiny_model, monkeypatch, three_threads, environment, small, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(any_to_any, "SMALL_CORE", small)
    monkeypatch.setattr(
        any_to_any, "ALL_THREADS", 2
    )  # a small model before it does not keep a large one on its one thread
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert any_to_any.set_num_threads(tiny_model) is tiny_model
    assert torch.get_num_threads() == expected
