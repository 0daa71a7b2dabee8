"""Everybody can use the page: axe, contrast in both themes, the keyboard, targets for fingers, reduced motion."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from data.media.loading import Medium
from data.media.saving import save_medium
from tests.demo.browsing import FIELD, SIZES, attach, image_file, open_page, replied, send, settings
from tests.tiny_model import medium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

#: Small enough to be hard to hit with a finger. What is inside a line of text or a label of its own is no target.
SMALL_TARGETS = """() => [...document.querySelectorAll("button, summary, a[href], input, textarea, [role=slider]")]
  .filter((each) => each.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !each.disabled)
  .map((each) => [each.closest("label") ?? each, each])
  .map(([target, each]) => [target.getBoundingClientRect(), each])
  .filter(([box]) => box.width > 1 && (box.width < 40 || box.height < 40))
  .map(([box, each]) => `${each.outerHTML.slice(0, 90)} ${box.width} x ${box.height}`)"""
FOCUSED = """() => {
  let at = document.activeElement;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  const box = at.getBoundingClientRect(), style = getComputedStyle(at);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const field = at.closest?.(".composer") && at.matches("textarea");
  const video = at.tagName === "VIDEO"; // the browser's own controls have rings of their own
  return { name: at.outerHTML.slice(0, 80), act: at.dataset?.act ?? "", tag: at.tagName,
    ring: ring || Boolean(field || video),
    inside: box.width > 0 && box.right > 0 && box.left < innerWidth };
}"""


def serious(page) -> list[str]:
    """What axe calls serious or critical, contrast among it."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:140]} {node['failureSummary'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_state(browser, page_address, tmp_path, scheme):
    page = open_page(browser, page_address, *SIZES[0], color_scheme=scheme, reduced_motion="reduce")
    states = {"empty": serious(page)}
    settings(page)
    page.wait_for_timeout(300)
    states["settings"] = serious(page)
    page.keyboard.press("Escape")
    (tmp_path / "fake.png").write_text("no picture")
    send(page, "look", tmp_path / "fake.png")
    expect(page.locator("#composer .notice")).to_be_visible()
    attach(page, image_file(tmp_path))
    states["refused"] = serious(page)
    page.locator("#composer [data-act=dismiss]").click()
    page.locator(FIELD).fill("what is this?")
    page.locator(FIELD).press("Enter")
    replied(page)
    send(page, "film it and play it", save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy"))
    replied(page)
    page.locator("#side summary").first.click()
    states["conversation"] = serious(page)
    page.locator("#thread [data-act=explain]").last.click()
    expect(page.locator("#explanation section").first).to_be_visible()
    states["explained"] = serious(page)
    page.keyboard.press("Escape")
    page.locator("#side summary").first.click()  # whatever is clicked elsewhere closes the menu
    page.locator("#side [data-act=delete]").first.click()
    expect(page.locator("#side .undo")).to_be_visible()
    states["deleted"] = serious(page)
    for tab in (1, 2):
        page.locator("#tabs .tab-container button[role=tab]").nth(tab).click()
        page.wait_for_timeout(300)
        states[f"tab {tab}"] = serious(page)
    assert {name: found for name, found in states.items() if found} == {}
    page.context.close()


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(browser, page_address):
    page = open_page(browser, page_address, *SIZES[0])
    send(page, "film it and play it")
    replied(page)
    page.locator("#side button").first.focus()
    stops = [page.evaluate(FOCUSED)]
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["tag"] in ("BODY", "HTML") or stop == stops[0]:
            break
        stops.append(stop)
    assert [stop for stop in stops if not stop["ring"] or not stop["inside"]] == []
    wanted = "new go copy retry explain download edit attach record camera open-settings"
    assert set(wanted.split()) <= {stop["act"] for stop in stops}
    assert {"VIDEO", "SUMMARY", "TEXTAREA"} <= {stop["tag"] for stop in stops}
    page.locator("#side [data-act=go]").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#side [data-act=rename]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#side [data-act=rename]")).not_to_be_visible()
    page.context.close()


def test_targets_on_a_phone_fit_a_finger(browser, page_address, tmp_path):
    page = open_page(browser, page_address, *SIZES[2], has_touch=True)
    found = {"empty": page.evaluate(SMALL_TARGETS)}
    send(page, "film it and play it")
    replied(page)
    attach(page, image_file(tmp_path))
    found["conversation"] = page.evaluate(SMALL_TARGETS)
    settings(page)
    page.wait_for_timeout(300)
    found["settings"] = page.evaluate(SMALL_TARGETS)
    page.locator("#settings [data-act=close-panel]").click()
    page.locator("#top [data-act=open-side]").click()
    found["conversations"] = page.evaluate(SMALL_TARGETS)
    assert {name: small for name, small in found.items() if small} == {}
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#composer textarea')).fontSize)") >= 16
    page.context.close()


def test_nothing_moves_where_motion_is_reduced(browser, page_address, tmp_path):
    page = open_page(browser, page_address, reduced_motion="reduce")
    send(page, "what is this?", save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy"))
    page.wait_for_function("document.querySelector('point-cloud')?.points?.length > 0")
    before = page.evaluate("document.querySelector('point-cloud').turn")
    page.wait_for_timeout(600)
    assert page.evaluate("document.querySelector('point-cloud').turn") == before
    assert page.evaluate("document.getAnimations().filter((each) => each.playState === 'running').length") == 0
    page.context.close()
