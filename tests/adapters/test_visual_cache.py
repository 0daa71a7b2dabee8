"""The visual cache: each row on its own, its formula, its file, and which encoder it belongs to."""

import pytest
import torch
from torch.nn import functional

from adapters import VisualCache


@pytest.fixture
def cache():
    return VisualCache(torch.randn(50, 12, generator=torch.Generator().manual_seed(0)), neighbours=5, temperature=20.0)


def unit(rows):
    return functional.normalize(torch.randn(rows, 12, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_a_batch_equals_its_rows(cache):
    embeddings = unit(7)
    rows = torch.cat([cache(embeddings[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(cache(embeddings), rows)


def test_the_formula_written_out(cache):
    embedding = unit(1)
    prototypes = cache.prototypes
    order = (prototypes @ embedding[0]).argsort(descending=True)[:5]
    weights = torch.softmax(20.0 * (prototypes[order] @ embedding[0]), dim=0)
    retrieved = functional.normalize(weights @ prototypes[order], dim=0)
    expected = functional.normalize(0.5 * embedding[0] + 0.5 * retrieved, dim=0)
    torch.testing.assert_close(cache(embedding)[0], expected)


@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_the_ends_of_the_blend(cache, blend):
    cache.blend = blend
    embedding = unit(3)
    assert torch.allclose(cache(embedding), embedding, atol=1e-6) == (blend == 0.0)
    torch.testing.assert_close(cache(embedding).norm(dim=-1), torch.ones(3))


def test_it_comes_back_from_its_file(cache, tmp_path):
    cache.save(tmp_path / "cache", "encoder one")
    loaded = VisualCache.load(tmp_path / "cache", "encoder one")
    assert (loaded.neighbours, loaded.temperature, loaded.blend) == (5, 20.0, 0.5)
    torch.testing.assert_close(loaded(unit(4)), cache(unit(4)), atol=2e-3, rtol=2e-3)


def test_the_cache_of_another_encoder_is_refused(cache, tmp_path):
    cache.save(tmp_path / "cache", "encoder one")
    with pytest.raises(ValueError, match="made by encoder 'encoder one', expected 'encoder two'"):
        VisualCache.load(tmp_path / "cache", "encoder two")


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="shape"):
        VisualCache(torch.zeros(3))
    with pytest.raises(ValueError, match=r"blend must lie in .* not 2"):
        VisualCache(torch.zeros(3, 4), blend=2)
    assert VisualCache(torch.randn(3, 4), neighbours=10).neighbours == 3
