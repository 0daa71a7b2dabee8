"""The field stays in the window, nothing jumps, and every browser shows the same buttons."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.demo.browsing import FIELD, SIZES, attach, image_file, open_page, replied, send, settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

#: Names, as a screen reader says them, and texts of everything that is on the page.
SAID = """() => [...document.querySelectorAll("body *")].filter((each) => each.checkVisibility()).flatMap((each) => [
  ...["aria-label", "title", "alt", "placeholder"].map((name) => each.getAttribute(name)),
  ...[...each.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()),
]).filter(Boolean)"""
BUTTONS = """() => [...document.querySelectorAll("button, summary, [role=slider], sound-player")]
  .filter((each) => each.checkVisibility())
  .map((each) => (each.getAttribute("aria-label") ?? each.innerText).replace(/[0-9]{2}:[0-9]{2}$/, ""))"""
SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: false }); }"""


def inside(page, width: int, height: int) -> None:
    """The whole field, and the button that sends, are in the window."""
    for part in ("#composer .composer", "#composer .row button:visible >> nth=-1"):
        box = page.locator(part).bounding_box()
        assert box and box["x"] >= 0 and box["y"] >= 0, (part, box)
        assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, (part, box)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_field_is_inside_the_window_whatever_it_holds(browser, page_address, tmp_path, width, height):
    page = open_page(browser, page_address, width, height)
    for files in (0, 1, 6):
        if files:
            attach(page, *(image_file(tmp_path, f"{files}-{n}.png") for n in range(1 if files == 1 else 5)))
        for lines in (1, 3, 6, 12):
            page.locator(FIELD).fill("\n".join(["a line"] * lines))
            inside(page, width, height)
    page.locator("#composer [data-act=record]").click()
    expect(page.locator("#composer .recording")).to_be_visible()
    inside(page, width, height)
    page.locator("#composer [data-act=discard]").click()
    page.locator(FIELD).press("Enter")
    replied(page)
    for text in ("film it and play it", "hello"):
        send(page, text)
        replied(page)
    for place in (0, 10_000):
        page.evaluate(f"scrollTo(0, {place})")
        inside(page, width, height)
        head = page.locator("#tabs > .tab-wrapper").bounding_box()
        assert head and 0 <= head["y"] < 5
    page.context.close()


def test_nothing_jumps_while_a_reply_streams(page, decoders):
    send(page, "hello")
    replied(page)
    page.evaluate(SHIFTS)
    send(page, "film it and play it")
    replied(page)
    assert page.evaluate("window.shift") < 0.05


def test_a_german_browser_shows_the_buttons_of_an_english_one_and_a_chinese_one_no_english(browser, page_address):
    shown, said = {}, []
    for locale in ("en-US", "de-DE", "zh-CN"):
        page = open_page(browser, page_address, *SIZES[0], locale=locale)
        send(page, "film it and play it")
        replied(page)
        settings(page)
        page.wait_for_timeout(300)
        shown[locale] = page.evaluate(BUTTONS)
        said = page.evaluate(SAID)
        for tab in (1, 2, 3):
            page.locator("#tabs .tab-container button[role=tab]").nth(tab).click()
            page.wait_for_timeout(300)
            shown[locale] += page.evaluate(BUTTONS)
            said += page.evaluate(SAID)
        page.context.close()
    assert shown["de-DE"] == shown["en-US"] and len(shown["zh-CN"]) == len(shown["en-US"])
    known = r"film it and play it|Watch and listen\.|nextgpt_lite|English|HTML|zip|MB|GB|V?RAM|cpu|tiny\w*|model\w*"
    english = {each for each in said if re.search("[A-Za-z]{3,}", re.sub(known, "", each))}
    assert english == set()
