"""The page in a real browser: the taught model behind it, Debian's Chromium in front of it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from data.media.loading import Medium
from data.media.saving import save_medium
from tests.demo.taught import HELLO, SEEN
from tests.tiny_model import medium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PATIENCE = 90_000  # milliseconds
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip

#: Notes in ``seen`` what the cards of media show, however short.
NOTE_PROGRESS = """() => {
  window.seen = new Set();
  new MutationObserver(() => {
    for (const card of document.querySelectorAll("#chat .making")) {
      const what = `${card.classList[1]} of ${card.querySelector("progress").max}`;
      seen.add(what).add(what + (card.querySelector("img") ? " with a preview" : ""));
    }
  }).observe(document.body, { childList: true, subtree: true, attributes: true });
}"""


def chromium() -> str:
    """The browser of the system; a missing one is an error, not a reason to skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no chromium: install it (apt-get install chromium); make test-slow does so where it can"
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Chromium, whose microphone plays a file."""
    spoken = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    save_medium(Medium("audio", np.sin(np.arange(48_000) / 20).astype(np.float32) * 0.5, 16_000.0), spoken)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={spoken}"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()


def open_page(browser: Browser, address: str, width: int = 1280, height: int = 800, locale: str = "en-US") -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale=locale, permissions=["microphone"]
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.locator(".empty .things img")).to_have_count(16)
    return page


@pytest.fixture
def page(browser, page_address) -> Iterator[Page]:
    page = open_page(browser, page_address)
    yield page
    page.context.close()


def send(page: Page, text: str, file: Path | None = None) -> None:
    if file:
        page.locator("#box input[type=file]").first.set_input_files(str(file))
        expect(page.locator("#box .thumbnail-item")).to_have_count(1)
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")


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


def replied(page: Page):
    """The last reply, once it is complete."""
    expect(page.locator("#box .stop-button")).to_have_count(0)
    return page.locator("#chat .bot.message").last


def picture_file(folder: Path) -> Path:
    return save_medium(Medium("image", medium("image")["array"]), folder / "seen.png")


def set_steps(page: Page, steps: int) -> None:
    page.locator("#open-drawer").click()
    number = page.locator("#steps input[type=number]")
    number.fill(str(steps))
    number.press("Tab")


def test_a_picture_is_uploaded_and_the_answer_streams(page, tmp_path):
    send(page, "what is this?", picture_file(tmp_path))
    expect(page.locator("#chat .bot.message").last).to_contain_text(SEEN)
    assert page.locator("#chat .user.message img").first.evaluate("image => image.naturalWidth") == 128


def test_nothing_is_said_before_the_page_knows_who_speaks(browser, page_address):
    """A message that came before its visitor was lost to an error."""
    page, held, shut = browser.new_context().new_page(), [], [True]
    page.set_default_timeout(PATIENCE)
    page.route("**/queue/join*", lambda route: held.append(route) if shut else route.continue_())
    page.goto(page_address)
    box = page.locator("#box textarea")
    expect(box).to_be_disabled()
    while not held:
        page.wait_for_timeout(50)
    shut.clear()
    for route in held:
        route.continue_()
    expect(box).to_be_focused()
    send(page, "what is this?")
    expect(page.locator("#chat .bot.message").last).to_be_visible()
    page.context.close()


def test_each_medium_shows_its_progress_and_comes(page, decoders):
    set_steps(page, 10)
    page.evaluate(NOTE_PROGRESS)
    send(page, "film it and play it")
    expect(page.locator("#chat video")).to_have_count(1)
    expect(page.locator("#chat .making")).to_have_count(0)
    assert {"video of 10 with a preview", "audio of 10"} <= set(page.evaluate("[...seen]"))
    page.wait_for_function("document.querySelector('#chat video').currentTime > 0")
    expect(
        page.locator("#chat audio, #chat .waveform-container, #chat [data-testid=waveform-x]").first
    ).to_be_attached()
    send(page, "draw a bell")
    expect(page.locator("#chat .bot img:not(.preview)")).to_have_count(1)


def test_a_medium_and_a_reply_can_be_cancelled(page, decoders):
    set_steps(page, 50)
    decoders.clear()
    send(page, "film it and play it")
    with page.expect_response("**/queue/join*"):
        page.locator("#chat .cancel-0").click()
    decoders.set()
    expect(page.locator("#chat .gone")).to_have_count(1)
    decoders.clear()
    expect(page.locator("#chat .cancel-1")).to_be_visible()
    with page.expect_response("**/queue/join*"):
        page.locator("#box .stop-button").click()
    decoders.set()
    expect(page.locator("#chat .making")).to_have_count(0)
    expect(page.locator("#chat")).to_contain_text("(stopped)")


def test_a_reload_loses_nothing_and_export_holds_all(page, tmp_path):
    send(page, "what is this?", picture_file(tmp_path))
    expect(replied(page)).to_contain_text(SEEN)
    page.reload()
    expect(page.locator("#chat .bot.message").last).to_contain_text(SEEN)
    expect(page.locator("#chat .user.message img")).to_have_count(1)
    with page.expect_download() as download:
        page.locator("#as-page").click()
    assert SEEN in Path(download.value.path()).read_text()
    page.locator("#new").click()
    expect(page.locator(".empty")).to_be_visible()
    page.locator("#conversations label").last.click()
    expect(page.locator("#chat .bot.message").last).to_contain_text(SEEN)


@contextmanager
def paused(pool) -> Iterator[None]:
    """The engine does nothing meanwhile, so that the page shows that a reply is being generated."""
    go_on = threading.Event()
    pool.engine().call(lambda model: go_on.wait(PATIENCE / 1000))
    yield
    go_on.set()


def test_a_message_is_edited_and_asked_again(page, pool, tmp_path):
    send(page, "tell me", picture_file(tmp_path))
    replied(page)
    page.locator("#chat [aria-label='Edit'], #chat [title='Edit']").first.click()
    page.locator("#chat textarea").fill("what is this?")
    page.locator("#chat [aria-label='Submit'], #chat [title='Submit']").first.click()
    expect(page.locator("#chat .bot.message").last).to_contain_text(SEEN)
    expect(page.locator("#chat .user.message img")).to_have_count(1)
    replied(page)
    with paused(pool):
        page.locator("#chat [aria-label='Retry'], #chat [title='Retry']").first.click()
        expect(page.locator("#box .stop-button")).to_have_count(1)
    expect(replied(page)).to_contain_text(SEEN)
    page.locator("#chat [aria-label='Undo'], #chat [title='Undo']").first.click()
    expect(page.locator("#box textarea")).to_have_value("what is this?")
    expect(page.locator("#chat .bot.message")).to_have_count(0)


def test_the_microphone_is_heard(page):
    page.locator("#box [data-testid=microphone-button]").click()
    page.locator("#box [aria-label='Start recording']").click()
    expect(page.locator("#box .recording-overlay .timestamp")).to_have_text("0:02")
    page.locator("#box [aria-label='Stop recording']").click()
    page.locator("#box [aria-label='Attach audio']").click()
    expect(page.locator("#box .thumbnail-item")).to_have_count(1)
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .user.message").first).to_be_visible()
    expect(replied(page)).not_to_be_empty()


def test_a_file_that_is_none_is_refused_in_a_toast(page, tmp_path):
    (tmp_path / "fake.png").write_text("no picture")
    send(page, "look", tmp_path / "fake.png")
    expect(page.locator(".toast-body")).to_contain_text("fake.png is mislabelled")
    expect(page.locator("#chat .bot.message")).to_have_count(0)


def test_the_language_changes_everything_and_is_remembered(page):
    expect(page.locator("#new")).to_have_text("New conversation")
    page.locator("#language label").last.click()
    expect(page.locator("#new")).to_have_text("新对话")
    expect(page.locator(".empty h2")).to_have_text("想做点什么？")
    expect(page.locator("#tabs button[role=tab]").nth(2)).to_contain_text("解释")
    page.reload()
    expect(page.locator("#new")).to_have_text("新对话")


def test_a_reply_is_explained_and_media_are_mixed(page, tmp_path):
    send(page, "what is this?", picture_file(tmp_path))
    expect(replied(page)).to_contain_text(SEEN)
    page.locator("#tabs button[role=tab]").nth(2).click()
    expect(page.locator("#explanation .strip span").first).to_be_visible()
    expect(page.locator("#explanation .neighbours figure")).to_have_count(4)
    expect(page.locator("#explanation .gate-rows > div")).to_have_count(2)
    page.locator("#tabs button[role=tab]").nth(3).click()
    page.locator("#mix").click()
    expect(page.locator("#sum .made img")).to_have_count(1)


def test_a_phone_has_room_for_everything(browser, page_address):
    page = open_page(browser, page_address, width=390, height=844, locale="zh-CN")
    expect(page.locator(".empty h2")).to_have_text("想做点什么？")  # as its browser asks
    for part in ("#language", "#chat", "#composer"):
        box = page.locator(part).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390
    send(page, "hello")
    expect(replied(page)).to_contain_text(HELLO)
    for tab in range(4):
        page.locator("#tabs button[role=tab]").nth(tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_nothing_comes_from_another_host(browser, page_address):
    context, hosts = browser.new_context(), set()
    page = context.new_page()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
    page.goto(page_address)
    expect(page.locator(".empty .things img")).to_have_count(16)
    assert hosts - {""} == {"127.0.0.1"}
    context.close()
