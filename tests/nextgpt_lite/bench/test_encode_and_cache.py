"""The benchmarks of the encoder and of the visual cache measure what they say, at a size that takes no time."""

import pytest

from adapters.visual_cache import KINDS
from encoders.imagebind import ImageBindConfig, TowerConfig
from nextgpt_lite.bench import BENCHMARKS, cache, encode


def test_encode_compares_both_precisions_of_each_tower():
    config = ImageBindConfig(
        16,
        {
            "vision": TowerConfig(32, 2, 2, (3, 2, 32, 32), (2, 8, 8), (2, 8, 8)),
            "audio": TowerConfig(32, 1, 2, (1, 32, 40), (8, 8), (8, 8), logit_scale=20.0),
            "text": TowerConfig(32, 1, 2, (9,), vocabulary=50, logit_scale=10.0),
        },
    )
    figures = encode.run(config=config, rounds=1)
    towers = [figures[name] for name in ("vision", "audio", "text")]
    assert all(tower["fp32_mib"] == pytest.approx(2 * tower["bf16_mib"], rel=1e-3) for tower in towers)
    assert figures["speedup"] == pytest.approx(figures["fp32_milliseconds"] / figures["bf16_milliseconds"])
    assert figures["fp32_milliseconds"] == pytest.approx(sum(tower["fp32_milliseconds"] for tower in towers))
    assert 0.99 < figures["cosine"] < 1.0 - 1e-9  # exactly 1 would mean that one model ran twice
    assert figures["bf16_instructions"]


def test_cache_measures_every_kind_against_the_truth():
    figures = cache.run(rows=3000, width=64, queries=8, neighbours=4)
    assert set(KINDS) < set(figures)
    assert figures["exact"]["recall"] == 1.0
    for kind in KINDS:
        assert figures[kind]["recall"] >= 0.8
        assert figures[kind]["milliseconds"] > 0
    assert figures["ivf_rabitq"]["resident_mib"] < figures["ivf_sq8"]["resident_mib"] < figures["exact"]["resident_mib"]


def test_the_world_is_the_same_each_time_and_its_queries_are_not_its_prototypes():
    world = cache.SyntheticWorld(600, 32)
    assert world.draw(5, seed=0).equal(cache.SyntheticWorld(600, 32).draw(5, seed=0))
    assert not world.draw(5, seed=0).equal(world.draw(5, seed=-1))


def test_both_are_registered():
    assert BENCHMARKS["encode"][0] == encode.__name__
    assert BENCHMARKS["cache"][0] == cache.__name__
