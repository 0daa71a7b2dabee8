"""Hostile files, and the processes that decode them."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.media.decoding import environment
from data.media.decoding_pool import DecodingPool, decode_in_pool
from data.media.loading import UPLOAD_LIMITS, MediaError, load_medium
from tests.data.media.hostile_files import INTACT, MAKERS, hostile_files, intact_file

COUNT = 4 * len(MAKERS)


@pytest.fixture(scope="module")
def pool():
    pool = DecodingPool()
    yield pool
    pool.close()


def check_harmless(medium) -> None:
    """A file that was accepted keeps the limits."""
    assert np.isfinite(medium.array).all() and medium.array.size
    longest = max(medium.array.shape[-3:-1]) if medium.modality in ("image", "video") else 0
    assert UPLOAD_LIMITS.image_side and longest <= UPLOAD_LIMITS.image_side
    assert medium.modality != "audio" or len(medium.array) / medium.rate <= UPLOAD_LIMITS.seconds + 1


def test_each_is_refused_in_a_sentence_or_does_no_harm(pool, tmp_path):
    wrong = []
    for hostile in hostile_files(tmp_path, COUNT):
        try:
            medium = load_medium(hostile.path, UPLOAD_LIMITS, pool.decode)
        except MediaError as error:
            sentence = str(error)
            if "\n" in sentence or "Traceback" in sentence or len(sentence) > 400:
                wrong.append((hostile.kind, sentence))
        else:
            check_harmless(medium)
            wrong += [] if hostile.harmless else [(hostile.kind, hostile.path.suffix, "was accepted")]
        hostile.path.unlink()
    assert wrong == []


@pytest.mark.parametrize("suffix", INTACT)
def test_the_pool_decodes_as_a_new_process_does(pool, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(intact_file(suffix))
    one, other = load_medium(path), load_medium(path, decode=pool.decode)
    assert (one.modality, one.rate) == (other.modality, other.rate)
    np.testing.assert_array_equal(one.array, other.array)


def test_many_files_at_once_do_not_mix(pool, tmp_path):
    paths = []
    for number in range(24):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], np.full((number + 1, 3), number, np.float32))
    with ThreadPoolExecutor(8) as threads:
        media = list(threads.map(lambda path: load_medium(path, decode=pool.decode), paths))
    assert [(len(medium.array), medium.array.max()) for medium in media] == [(n + 1, n) for n in range(24)]


def test_a_decoder_that_takes_too_long_ends_itself(pool, tmp_path):
    (tmp_path / "a.mp4").write_bytes(intact_file(".mp4"))
    with pytest.raises(MediaError, match=r"a\.mp4 took more than 1e-06 s"):
        load_medium(tmp_path / "a.mp4", replace(UPLOAD_LIMITS, decode_seconds=1e-6), pool.decode)


def test_a_pool_whose_process_died_starts_another(pool, tmp_path):
    (tmp_path / "a.png").write_bytes(intact_file(".png"))
    os.kill(pool._process.pid, 9)
    pool._process.wait()
    assert load_medium(tmp_path / "a.png", decode=pool.decode).modality == "image"


def test_uploaded_images_are_resized(pool, tmp_path):
    from PIL import Image

    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "a.png")
    assert load_medium(tmp_path / "a.png", UPLOAD_LIMITS, pool.decode).array.shape == (512, 1024, 3)
    assert load_medium(tmp_path / "a.png").array.shape == (1500, 3000, 3)


def read_in_pool(path) -> int:
    return int(load_medium(path, decode=decode_in_pool).array.sum())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_each_process_has_a_pool_of_its_own(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (4, 4), (10, 10, 10)).save(path)
    expected = read_in_pool(path)
    forked = multiprocessing.get_context("fork").Process(target=lambda: os._exit(read_in_pool(path) != expected))
    forked.start()
    forked.join(60)
    assert expected == 480 and forked.exitcode == 0 and read_in_pool(path) == expected


def test_a_decoding_process_finds_this_package():
    root = Path(environment()["PYTHONPATH"].split(os.pathsep)[0])
    assert (root / "data/media/decoding.py").is_file()
