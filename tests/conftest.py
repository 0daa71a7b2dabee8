"""What the tests of the composed model share. The folder is built once a session: who changes it works on a copy."""

import os
import shutil
import signal

import pytest


def pytest_configure():
    """A shell starts what runs in its background with interrupts ignored, and so would every process of a test: servers
    and trainings that are to end when they are interrupted would not.

    Where tests run in several processes each computes on one thread: together they fill the machine."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A complete model folder of the real classes, untrained. Read only."""
    import torch  # not at the top: most tests need neither this nor diffusers

    from tests.tiny_model import build_tiny_model

    torch.set_num_threads(1)  # faster than two for layers this small
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def tiny_copy(tiny_folder, tmp_path):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture(scope="session")
def tiny_model(tiny_folder):
    """The tiny model, loaded. Who changes its weights puts them back."""
    from nextgpt_lite import AnyToAny

    return AnyToAny.from_pretrained(tiny_folder)
