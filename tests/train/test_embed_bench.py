"""The benchmark of precomputed embeddings runs both ways on the tiny model; its figures are no timed test."""

import pytest

from train.embed_bench import run


@pytest.mark.slow
def test_both_ways_are_timed(tiny_folder):
    figures = run(scenes=1, rounds=1, model=tiny_folder)
    assert figures["conversations"] == 1 and figures["media_embedded_a_second"] > 0
    for stage in ("encoding", "decoding"):
        found = figures[stage]
        ratio = found["from_embeddings_samples_per_second"] / found["from_files_samples_per_second"]
        assert found["ratio"] == pytest.approx(ratio)
