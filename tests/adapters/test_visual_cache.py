"""The visual cache: each row on its own, its formula, its file, and which encoder it belongs to."""

import faiss
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

from adapters import VisualCache
from adapters.visual_cache import KINDS, PrototypeIndex


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
    with pytest.raises(ValueError, match="unknown kind of visual cache 'tree': expected one of exact, ivf_sq8"):
        VisualCache(torch.randn(3, 4), kind="tree")
    with pytest.raises(ValueError, match="prototypes must be finite"):
        VisualCache(torch.full((3, 4), torch.nan))
    with pytest.raises(ValueError, match="neighbours must be at least 1"):
        VisualCache(torch.randn(3, 4), neighbours=0)
    assert VisualCache(torch.randn(3, 4), neighbours=10).neighbours == 3


def test_an_embedding_that_is_not_finite_is_refused(cache):
    with pytest.raises(ValueError, match="not finite"):
        cache(torch.full((1, 12), torch.nan))


COMPRESSED = [kind for kind in KINDS if kind != "exact"]


@pytest.fixture(scope="module")
def crowd():
    """600 prototypes in 60 clusters, and queries near some of them."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(60, 64, generator=generator)
    prototypes = centres.repeat(10, 1) + 0.3 * torch.randn(600, 64, generator=generator)
    queries = centres[:8] + 0.3 * torch.randn(8, 64, generator=generator)
    return prototypes, functional.normalize(queries, dim=-1)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_cache_finds_what_the_exact_one_finds(crowd, kind):
    prototypes, queries = crowd
    exact, compressed = (VisualCache(prototypes, kind=kind) for kind in ("exact", kind))
    similarities, indices = compressed.search(queries)
    expected = exact.search(queries)[1]
    recall = (indices[:, :, None] == expected[:, None]).any(2).float().mean()
    assert recall >= 0.95
    own = torch.einsum("bd,bkd->bk", queries, exact.prototypes[indices])
    torch.testing.assert_close(similarities, own, atol=1e-3, rtol=0)  # by the prototypes, not by their codes
    assert torch.cosine_similarity(compressed(queries), exact(queries)).min() > 0.995


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_batch_equals_its_rows(crowd, kind):
    prototypes, queries = crowd
    cache = VisualCache(prototypes, kind=kind)
    rows = torch.cat([cache(query[None]) for query in queries])
    torch.testing.assert_close(cache(queries), rows)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_cache_comes_back_from_its_file(crowd, kind, tmp_path):
    prototypes, queries = crowd
    cache = VisualCache(prototypes, neighbours=4, kind=kind)
    cache.save(tmp_path, "one")
    assert [file.name for file in tmp_path.iterdir()] == ["prototypes.safetensors"]
    loaded = VisualCache.load(tmp_path, "one")
    assert (loaded.kind, loaded.neighbours, loaded.prototypes.dtype) == (kind, 4, torch.float16)
    assert torch.equal(loaded(queries), cache(queries))


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_cache_smaller_than_its_neighbours(kind):
    cache = VisualCache(torch.eye(8)[:2], neighbours=10, kind=kind)
    found = cache(torch.eye(8)[:3])
    assert found.isfinite().all()
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))


def test_what_the_searched_cells_do_not_hold_weighs_nothing(crowd):
    prototypes, queries = crowd
    cache = VisualCache(prototypes, neighbours=550, kind="ivf_sq8")
    faiss.extract_index_ivf(cache.index.index).nprobe = 1  # of two cells
    similarities, indices = cache.search(queries)
    missing = torch.isneginf(similarities)
    assert missing.any(1).all() and not missing[:, :50].any()
    found = indices[0][~missing[0]]
    weights = torch.softmax(20.0 * (cache.prototypes[found].float() @ queries[0]), dim=0)
    retrieved = functional.normalize(weights @ cache.prototypes[found].float(), dim=0)
    expected = functional.normalize(queries[0] + retrieved, dim=0)
    torch.testing.assert_close(cache(queries)[0], expected)


def test_a_damaged_file_is_refused(tmp_path, crowd):
    with pytest.raises(ValueError, match="no visual cache in"):
        VisualCache.load(tmp_path, "one")
    with pytest.raises(ValueError, match="the index of the visual cache is damaged"):
        PrototypeIndex.from_bytes("ivf_sq8", torch.zeros(64, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors, _: tensors.pop("prototypes"), "lacks 'prototypes'"),
        (lambda tensors, _: tensors.pop("index"), "lacks 'index'"),
        (lambda tensors, _: tensors.update(labels=torch.zeros(1)), "has the unknown entry 'labels'"),
        (lambda _, settings: settings.pop("blend"), "lacks 'blend'"),
        (lambda _, settings: settings.update(depth="3"), "has the unknown entry 'depth'"),
    ],
)
def test_entries_that_do_not_fit_are_named(tmp_path, crowd, change, said):
    VisualCache(crowd[0], kind="ivf_sq8").save(tmp_path, "one")
    path = tmp_path / "prototypes.safetensors"
    with safe_open(path, "pt") as file:
        settings = dict(file.metadata())
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    change(tensors, settings)
    save_file(tensors, path, settings)
    with pytest.raises(ValueError, match=said):
        VisualCache.load(tmp_path, "one")


@pytest.mark.parametrize("kind", KINDS)
def test_stored_prototypes_that_are_not_finite_are_refused(tmp_path, crowd, kind):
    """When they are loaded, or, where they stay in their file, when they are fetched."""
    prototypes, queries = crowd
    VisualCache(prototypes, kind=kind).save(tmp_path, "one")
    path = tmp_path / "prototypes.safetensors"
    with safe_open(path, "pt") as file:
        settings = file.metadata()
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    tensors["prototypes"][:, 3] = torch.nan
    save_file(tensors, path, settings)
    with pytest.raises(ValueError, match="finite"):
        VisualCache.load(tmp_path, "one")(queries)
