"""What a visitor does on the page, in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from data.media.loading import Medium
from data.media.saving import save_medium
from tests.tiny_model import medium

PATIENCE = 90_000  # milliseconds
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip
#: Widths and heights of windows: a desktop, a tablet, a phone.
SIZES = ((1440, 900), (1024, 768), (390, 844))
FIELD = "#composer textarea"


def chromium() -> str:
    """The browser of the system; a missing one is an error, not a reason to skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no chromium: install it (apt-get install chromium); make test-slow does so where it can"
    return found


def open_page(
    browser: Any, address: str, width: int = 1280, height: int = 800, locale: str = "en-US", **settings: Any
) -> Any:
    """The page in a new browser, as soon as it can be written on."""
    from playwright.sync_api import expect

    allowed = ["microphone", "camera", "clipboard-read", "clipboard-write"]
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale=locale, permissions=allowed, **settings
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.locator(FIELD)).to_be_focused()
    return page


def attach(page: Any, *files: Path) -> None:
    """Attach files, until they are uploaded."""
    from playwright.sync_api import expect

    before = page.locator("#composer .files li").count()
    page.locator("#composer input[type=file]").set_input_files([str(file) for file in files])
    expect(page.locator("#composer .files li:not(.uploading)")).to_have_count(before + len(files))


def send(page: Any, text: str, *files: Path) -> None:
    if files:
        attach(page, *files)
    page.locator(FIELD).fill(text)
    page.locator(FIELD).press("Enter")


def replied(page: Any) -> Any:
    """The last reply, once it is complete."""
    from playwright.sync_api import expect

    expect(page.locator("#thread .reply[aria-busy]")).to_have_count(0)
    expect(page.locator("#composer [data-act=send]")).to_be_visible()
    return page.locator("#thread .reply").last


def image_file(folder: Path, name: str = "seen.png") -> Path:
    return save_medium(Medium("image", medium("image")["array"]), folder / name)


def settings(page: Any) -> None:
    """Open the settings, and what is behind "Advanced"."""
    page.locator("#top [data-act=open-settings]").click()
    page.locator("#advanced button").first.click()


def set_steps(page: Any, steps: int) -> None:
    settings(page)
    number = page.locator("#steps input[type=number]")
    number.fill(str(steps))
    number.press("Tab")
