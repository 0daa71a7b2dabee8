"""Distances of sets: of known normal distributions, and against torchmetrics and clean-fid where they are installed."""

import numpy as np
import pytest

from data import toybox
from data.modalities import MODALITIES
from evaluation.metrics.distances import frechet_distance, kernel_distance
from evaluation.metrics.features import features_of


def sets(seed=0, width=16):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(300, width)), 1.3 * rng.normal(size=(250, width)) + 0.2


def test_the_distance_of_known_distributions():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(4000, 3))
    assert frechet_distance(one, one + 2.0) == pytest.approx(12.0, abs=1e-9)
    assert frechet_distance(one, 3 * one) == pytest.approx(4 * np.trace(np.cov(one, rowvar=False)), rel=0.01)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    few = {"subsets": 4, "size": 200}
    assert abs(kernel_distance(one[::2], one[1::2], **few).value) < 0.1 < kernel_distance(one, one + 1, **few).value


def test_fewer_media_than_features_are_no_trouble():
    rng = np.random.default_rng(2)
    assert np.isfinite(frechet_distance(rng.normal(size=(5, 64)), rng.normal(size=(4, 64))))
    one, other = rng.normal(size=(5, 12)), rng.normal(size=(4, 12))
    covariances = [np.cov(each, rowvar=False) for each in (one, other)]
    shared = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(min=0)).sum()
    known = np.square(one.mean(0) - other.mean(0)).sum() + sum(map(np.trace, covariances)) - 2 * shared
    assert frechet_distance(one, other) == pytest.approx(known, rel=1e-6)
    assert np.isfinite(frechet_distance(rng.normal(size=(3, 10_000)), rng.normal(size=(3, 10_000))))  # at once
    with pytest.raises(ValueError, match="two media of each side, not 1 and 4"):
        frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))


def test_the_frechet_distance_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    import torch

    one, other = sets()
    moments = [(torch.tensor(each.mean(0)), torch.tensor(np.cov(each, rowvar=False))) for each in (one, other)]
    theirs = fid._compute_fid(*moments[0], *moments[1]).item()
    assert frechet_distance(one, other) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:cleanfid", "ignore:The `disp` argument:DeprecationWarning")
def test_distances_are_those_of_clean_fid():
    fid = pytest.importorskip("cleanfid.fid")
    one, other = sets()
    moments = [moment for each in (one, other) for moment in (each.mean(0), np.cov(each, rowvar=False))]
    assert frechet_distance(one, other) == pytest.approx(fid.frechet_distance(*moments), rel=1e-4)
    same = one[:250]  # one subset of everything: no chance in it
    theirs = fid.kernel_distance(same, other, num_subsets=1, max_subset_size=250)
    assert kernel_distance(same, other).value == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("modality", ["image", "video", "audio", "points"])
def test_descriptors_tell_things_apart_and_see_likeness(modality):
    scenes = [toybox.sample(3, number) for number in range(6)]
    media = [(toybox.render(scene, modality), MODALITIES[modality].rate) for scene in scenes]
    found = features_of("descriptor", modality)(media)
    assert found.shape[0] == 6 and np.isfinite(found).all()
    [again] = features_of("descriptor", modality)(media[:1])
    assert np.abs(found - again).sum(1).argmin() == 0


def test_the_rate_of_a_sound_counts():
    wave = toybox.render(toybox.sample(3, 1), "audio")
    same, slow = features_of("descriptor", "audio")([(wave, 16_000.0), (wave, 8_000.0)])
    twice = features_of("descriptor", "audio")([(np.repeat(wave, 2), 32_000.0)])[0]
    assert np.abs(same - twice).sum() < 0.5 * np.abs(same - slow).sum()


def test_unknown_features_are_refused(tmp_path):
    for name, modality, sentence in (("resnet", "image", "unknown features 'resnet'"),
                                     ("resnet", "points", "unknown features 'resnet'"),
                                     ("inception", "image", "descriptor, oracle or inception=FILE")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            features_of(name, modality)
    assert features_of("oracle", "points") is None and features_of(f"inception={tmp_path / 'a'}", "audio") is None


def test_the_frechet_distance_of_fewer_media_is_greater():
    """So that two halves of the real media are no bound of what a model can reach with all of them."""
    one, other = np.random.default_rng(0).normal(size=(2, 200, 50))
    assert frechet_distance(one[::2], one[1::2]) > 1.5 * frechet_distance(one, other)
