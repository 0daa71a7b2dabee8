"""What the tests of page and server share: a tiny model whose replies are known, and an engine around it."""

import pytest


@pytest.fixture(scope="session")
def taught(tiny_folder):
    """The tiny model, taught the sentences of tests/demo/taught.py."""
    from tests.demo.taught import taught_model

    return taught_model(tiny_folder)


@pytest.fixture(scope="module")
def engine(taught):
    """An engine around the taught model."""
    from demo.engine import Engine

    engine = Engine(taught, queue_limit=24, batch=4)
    engine.warm_up().result()
    yield engine
    engine.close()
