"""Runs in a real browser: a training is watched while it goes on, a report stays in its frame, every size has room."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.demo.browsing import FLAGS, PATIENCE, chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[3]
SIZES = {"desktop": (1440, 900), "tablet": (1024, 768), "phone": (390, 844)}
#: What a report that somebody else wrote might try.
HOSTILE = """<!doctype html><title>r</title><h1>on your own data</h1><script>parent.document.title = "taken"</script>
<img src="ELSEWHERE/image"><img src=x onerror="parent.document.title='taken'"><audio src="ELSEWHERE/audio"></audio>
<link rel="stylesheet" href="ELSEWHERE/style"><p style="background: url(ELSEWHERE/background)"></p>
<script src="ELSEWHERE/script"></script><iframe src="ELSEWHERE/frame"></iframe><object data="ELSEWHERE/object"></object>
<meta http-equiv="refresh" content="0; url=ELSEWHERE/refresh">"""
#: Text whose contrast with what is behind it is below 4.5, as (text, ratio).
FAINT = """() => {
  const pixel = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const brush = pixel.getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    brush.clearRect(0, 0, 1, 1);
    for (const each of colours) { brush.fillStyle = each; brush.fillRect(0, 0, 1, 1); }
    return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter((each) => each.nodeType === 3).map((each) => each.data.trim()).join("");
    if (!text || !node.getClientRects().length || node.closest("output, script")) continue;
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const style = getComputedStyle(node), ink = node instanceof SVGElement ? style.fill : style.color;
    const [one, two] = [light(over([...behind, ink])), light(over(behind))].sort((a, b) => b - a);
    if ((one + 0.05) / (two + 0.05) < 4.5) found.push([text.slice(0, 40), (one + 0.05) / (two + 0.05)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def address(runs) -> Iterator[str]:
    """The pages of the runs, served behind the guard."""
    from starlette.applications import Starlette

    from demo.page.routes import HEADERS
    from demo.runs.pages import RunPages
    from demo.serving import running
    from demo.serving.guard import Guard

    app = Guard(Starlette(routes=RunPages([runs]).routes), headers=HEADERS)
    with running.listen("127.0.0.1", 0) as listener, running.serving(app, listener, grace=1):
        yield running.address_of(listener)


def test_a_training_is_watched_while_it_goes_on(browser, address, runs, tmp_path):
    steps = tmp_path / "steps"
    steps.mkdir()
    page = browser.new_page()
    page.goto(f"{address}/runs")
    expect(page.locator(".run")).to_have_count(3)
    command = [sys.executable, "-m", "tests.demo.runs.trained_slowly", tmp_path / "model", runs / "slow", steps]
    with subprocess.Popen(command, cwd=ROOT) as process:
        (steps / "2").touch()
        expect(page.locator(".run")).to_have_count(4)  # by itself, as everything below
        expect(page.locator(".run").first).to_contain_text("step 2 of 11")
        page.locator(".run").first.click()
        expect(page.locator("h1")).to_have_text("slow")
        page.locator("summary").click()
        expect(page.locator("#chart-loss circle")).to_have_count(1)
        (steps / "6").touch()
        expect(page.locator(".far")).to_contain_text("step 6 of 11")
        expect(page.locator(".state")).to_have_text("running")
        assert len((page.locator("#chart-loss polyline").get_attribute("points") or "").split()) == 6
        assert page.locator("#whole-recipe").get_attribute("open") is not None
        page.locator("#chart-loss svg").hover()
        expect(page.locator("#chart-loss output")).to_contain_text("6")
        (steps / "11").touch()
        expect(page.locator(".state")).to_have_text("finished")
        assert process.wait(60) == 0
    page.close()


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another server: its address, and what was requested of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_report_stays_in_its_frame(browser, address, runs, elsewhere):
    other, asked = elsewhere
    (runs / "own/report.html").write_text(HOSTILE.replace("ELSEWHERE", other))
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(f"{other}/known")
    assert "/known" in asked  # it can be reached
    asked.clear()
    page.goto(f"{address}/runs/of/0/own")
    expect(page.frame_locator("#report iframe").locator("h1")).to_have_text("on your own data")
    page.wait_for_timeout(1500)
    assert page.title() == "own · nextgpt_lite" and errors == []
    page.goto(f"{address}/runs/report/0/own")  # alone in its tab, too
    page.wait_for_timeout(1500)
    assert page.title() == "r" and set(asked) <= {"/favicon.ico"}
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_and_theme_has_room_and_contrast(browser, address, runs, size, theme):
    shutil.copytree(runs / "turns", runs / ("a_name_that_is_long_" * 5))
    (runs / ("a_name_that_is_long_" * 5) / "log.jsonl").unlink()
    width, height = SIZES[size]
    for locale in ("en-US", "zh-CN", "de-DE"):
        context = browser.new_context(viewport={"width": width, "height": height}, locale=locale, color_scheme=theme)
        page = context.new_page()
        problems: list[str] = []
        page.on(
            "console", lambda message, seen=problems: seen.append(message.text) if message.type == "error" else None
        )
        for path in ("/runs", "/runs/of/0/stages/tuned", "/runs/of/0/own", "/runs/of/0/turns", "/runs/of/0/none"):
            page.goto(address + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, locale)
            assert page.evaluate(FAINT) == [], (path, locale)
            assert page.locator("html").get_attribute("lang") == ("zh" if locale == "zh-CN" else "en")
        assert [each for each in problems if "404" not in each] == []
        context.close()


def test_everything_is_reached_by_keyboard(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/runs")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('run')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".tiles, #report").first).to_be_visible()
    page.close()
