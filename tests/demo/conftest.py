"""What the tests of page and server share: a tiny model whose replies are known, and an engine around it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def taught(tiny_folder):
    """The tiny model, taught the sentences of tests/demo/taught.py."""
    from tests.demo.taught import taught_model

    return taught_model(tiny_folder)


@pytest.fixture(scope="module")
def engine(taught):
    """An engine around the taught model."""
    from demo.engine.engine import Engine

    engine = Engine(taught, queue_limit=24, batch=4)
    engine.warm_up().result()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Iterator[Path]:
    """Gradio's folder; gradio reads its name when it is imported, so the page is imported after this."""
    folder = tmp_path_factory.mktemp("demo") / "media"
    folder.mkdir()
    os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    loops, new_event_loop = [], asyncio.new_event_loop

    def kept() -> asyncio.AbstractEventLoop:
        loops.append(new_event_loop())
        return loops[-1]

    with pytest.MonkeyPatch.context() as patch:  # gradio opens event loops for its locks and never closes them
        patch.setattr(asyncio, "new_event_loop", kept)
        yield folder
    asyncio.set_event_loop(None)
    for loop in loops:
        loop.close()


@pytest.fixture(scope="session")
def pool(cache, taught, tiny_folder):
    """A pool with the taught model, which answers as soon as it is asked."""
    from demo.engine import model_pool as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load", lambda folder, **held: taught)
        pool = module.ModelPool([str(tiny_folder)])
        pool.engine().warm_up().result()
        yield pool
    pool.close()


@pytest.fixture(scope="module")
def page_address(pool, cache) -> Iterator[str]:
    """The whole page, served."""
    from demo.page.app import Page
    from demo.page.routes import application
    from demo.page.visitors import Visitors
    from demo.serving import running
    from nextgpt_lite.inspection.examples import write_examples

    os.environ["GRADIO_TEMP_DIR"] = str(cache)  # a command that a test ran may have named another
    visitors = Visitors(cache.parent)
    page = Page(pool, visitors, write_examples(cache / "examples"))
    with running.listen("127.0.0.1", 0) as listener, running.serving(application(page), listener, grace=1):
        yield running.address_of(listener)
    visitors.close()


@pytest.fixture
def visitors(cache):
    """Nobody yet, beside what earlier tests have kept."""
    from demo.page.visitors import Visitors

    visitors = Visitors(cache.parent)
    yield visitors
    visitors.close()


@pytest.fixture
def visitor(visitors):
    """A new visitor."""
    return visitors.enter(None, "en")
