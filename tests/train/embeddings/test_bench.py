"""The benchmark of precomputed embeddings runs all ways on the tiny model; its figures are no timed test."""

import pytest

from train.embeddings.bench import run
from train.engine.speed import has_compiler


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute:UserWarning", "ignore:Mismatch dtype:UserWarning"
)  # torch's own
def test_all_ways_are_timed(tiny_folder):
    figures = run(scenes=1, rounds=1, model=tiny_folder, sizes=(64, 96))
    assert figures["conversations"] == 1
    for size in (64, 96):
        of_size = figures[f"{size}_pixels"]
        assert of_size["media_embedded_a_second"] > 0
        for stage in ("encoding", "decoding"):
            found = of_size[stage]
            for form in ("", "compiled_") if has_compiler() else ("",):
                ratio = found[f"{form}from_embeddings"] / found[f"{form}from_files"]
                assert found[f"{form}ratio"] == pytest.approx(ratio)
                plain = found[f"{form}from_files"] / found[f"{form}plain_loop"]
                assert found[f"{form}ratio_to_plain_loop"] == pytest.approx(plain)
