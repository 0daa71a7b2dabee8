"""The page in a real browser: the taught model behind it, Debian's Chromium in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from data.media.loading import Medium
from data.media.saving import save_medium
from tests.demo.browsing import FLAGS, PATIENCE, chromium, open_page


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator:
    """Chromium, whose microphone plays a file."""
    from playwright.sync_api import expect, sync_playwright

    spoken = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    save_medium(Medium("audio", np.sin(np.arange(48_000) / 20).astype(np.float32) * 0.5, 16_000.0), spoken)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={spoken}"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, page_address) -> Iterator:
    page = open_page(browser, page_address)
    yield page
    page.context.close()


@pytest.fixture
def decoders(taught) -> Iterator[threading.Event]:
    """The taught model's decoders, each step as slow as a larger one's; they stand still while the event is not set."""
    go_on = threading.Event()
    go_on.set()

    def slow(*_) -> None:
        go_on.wait(PATIENCE / 1000)
        time.sleep(0.1)

    networks = [taught.decoders[modality].pipeline.unet for modality in ("video", "audio")]
    hooks = [network.register_forward_pre_hook(slow) for network in networks]
    yield go_on
    go_on.set()
    for hook in hooks:
        hook.remove()
