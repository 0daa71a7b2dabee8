"""Benchmarks: the frame's figures are right, `s2` runs on short rows. What the figures must be is no timed test."""

import importlib
import json

import pytest
import torch

from nextgpt_lite.bench import BENCHMARKS, s2
from nextgpt_lite.bench.measure import fastest, peak_bytes, threads
from nextgpt_lite.cli import main
from nextgpt_lite.commands.bench import flat

MEBIBYTE = 2**20


def test_the_peak_counts_what_is_held_at_a_time():
    def one_after_another():
        for _ in range(3):
            torch.zeros(MEBIBYTE // 4)

    def together():
        return [torch.zeros(MEBIBYTE // 4) for _ in range(3)]

    assert peak_bytes(one_after_another) == pytest.approx(MEBIBYTE, rel=0.01)
    assert peak_bytes(together) == pytest.approx(3 * MEBIBYTE, rel=0.01)


def test_the_fastest_of_some_rounds_counts():
    calls = []
    seconds = fastest({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b", "a", "b"]
    assert seconds.keys() == {"a", "b"} and all(0 < value < 1 for value in seconds.values())


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_s2_runs_both_kinds_of_attention(monkeypatch):
    monkeypatch.setattr(s2, "TOKENS", 64)
    figures = s2.at_length(64)
    assert figures["speedup"] == pytest.approx(figures["dense_seconds"] / figures["split_seconds"])
    assert figures["memory_ratio"] == pytest.approx(figures["split_mib"] / figures["dense_mib"])


def test_shifted_attention_holds_no_more_memory():
    dense, split = (peak_bytes(s2.step(2048, form)) for form in (None, "split"))
    assert split <= dense


def test_every_benchmark_can_be_run():
    for module, description in BENCHMARKS.values():
        assert callable(importlib.import_module(module).run) and description


def test_the_command_prints_figures(monkeypatch, capsys):
    monkeypatch.setattr(s2, "LENGTHS", (16,))
    monkeypatch.setattr(s2, "TOKENS", 16)
    assert main(["bench", "s2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["s2"]
    assert figures["16"]["split_mib"] > 0 and figures["seconds_in_all"] > 0
    assert main(["bench", "s2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "s2" and any(line.split()[:2] == ["16", "speedup"] for line in lines)


def test_nested_figures_are_flat_lines():
    assert list(flat({"a": 1, "b": {"c": 2.5, "d": {"e": "f"}}})) == [("a", 1), ("b c", 2.5), ("b d e", "f")]


def test_an_unknown_benchmark_is_refused(capsys):
    assert main(["bench", "s3"]) == 2
    assert "unknown benchmark 's3': expected one of s2" in capsys.readouterr().err
