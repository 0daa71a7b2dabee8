"""The page in a real browser: what a visitor does, and what it shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from data.media.loading import Medium
from data.media.saving import save_medium
from tests.demo.browsing import FIELD, PATIENCE, attach, image_file, open_page, replied, send, set_steps
from tests.demo.taught import HELLO, SEEN
from tests.tiny_model import medium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

#: Notes in ``seen`` what the cards of media show, however short.
NOTE_PROGRESS = """() => {
  window.seen = new Set();
  new MutationObserver(() => {
    for (const card of document.querySelectorAll("#thread .making")) {
      const what = `${card.classList[1]} of ${card.querySelector("progress").max}`;
      seen.add(what).add(what + (card.querySelector("img") ? " with a preview" : ""));
    }
  }).observe(document.body, { childList: true, subtree: true, attributes: true });
}"""


def test_a_picture_is_uploaded_the_answer_streams_and_a_click_enlarges_it(page, tmp_path):
    send(page, "what is this?", image_file(tmp_path))
    expect(replied(page)).to_contain_text(SEEN)
    image = page.locator("#thread .said .card img")
    assert image.evaluate("image => image.naturalWidth") == 128 and image.get_attribute("alt")
    page.locator("#thread .enlarge").click()
    expect(page.locator("dialog.enlarged img")).to_be_visible()
    assert page.locator("dialog.enlarged img").bounding_box()["width"] > 2 * image.bounding_box()["width"]
    page.keyboard.press("Escape")
    expect(page.locator("dialog.enlarged")).to_have_count(0)
    expect(page.locator("#thread .enlarge")).to_be_focused()


def test_nothing_is_said_before_the_page_knows_who_speaks(browser, page_address):
    """A message that came before its visitor was lost to an error."""
    page, held, shut = browser.new_context().new_page(), [], [True]
    page.set_default_timeout(PATIENCE)
    page.route("**/queue/join*", lambda route: held.append(route) if shut else route.continue_())
    page.goto(page_address)
    field = page.locator(FIELD)
    expect(field).to_be_disabled()
    while not held:
        page.wait_for_timeout(50)
    shut.clear()
    for route in held:
        route.continue_()
    expect(field).to_be_focused()
    send(page, "what is this?")
    expect(page.locator("#thread .reply").last).to_be_visible()
    page.context.close()


def test_each_medium_shows_its_progress_and_comes(page, decoders):
    set_steps(page, 10)
    page.evaluate(NOTE_PROGRESS)
    send(page, "film it and play it")
    expect(page.locator("#thread video")).to_have_count(1)
    expect(page.locator("#thread .making")).to_have_count(0)
    assert {"video of 10 with a preview", "audio of 10"} <= set(page.evaluate("[...seen]"))
    assert page.locator("#thread .reply .tools").count() == 1
    video = page.locator("#thread video")
    page.wait_for_function("document.querySelector('#thread video').readyState > 0")
    assert video.evaluate("video => [video.paused, video.loop, video.controls]") == [True, False, True]
    sound = page.locator("sound-player")
    page.wait_for_function("document.querySelector('sound-player').bars.some((bar) => bar > 5)")
    sound.locator("button").click()
    page.wait_for_function("document.querySelector('sound-player').sound.currentTime > 0")
    send(page, "draw a bell")
    expect(page.locator("#thread .reply .card.image img")).to_have_count(1)


def test_a_medium_and_a_reply_can_be_cancelled(page, decoders):
    set_steps(page, 50)
    decoders.clear()
    send(page, "film it and play it")
    with page.expect_response("**/queue/join*"):
        page.locator("#thread [data-act=cancel][data-index='0']").click()
    decoders.set()
    expect(page.locator("#thread .gone")).to_have_count(1)
    decoders.clear()
    expect(page.locator("#thread [data-act=cancel][data-index='1']")).to_be_visible()
    with page.expect_response("**/queue/join*"):
        page.locator("#composer [data-act=stop]").click()
    decoders.set()
    expect(page.locator("#thread .making")).to_have_count(0)
    expect(page.locator("#thread")).to_contain_text("(stopped)")


def test_a_reload_loses_nothing_and_export_holds_all(page, tmp_path):
    send(page, "what is this?", image_file(tmp_path))
    expect(replied(page)).to_contain_text(SEEN)
    page.locator(FIELD).fill("a draft")
    page.reload()
    expect(page.locator("#thread .reply").last).to_contain_text(SEEN)
    expect(page.locator("#thread .said img")).to_have_count(1)
    expect(page.locator(FIELD)).to_have_value("a draft")
    page.locator("#side summary").first.click()
    with page.expect_download() as download:
        page.locator("#side [data-kind=page]").first.click()
    assert SEEN in Path(download.value.path()).read_text()
    page.locator("#side [data-act=new]").click()
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator(FIELD)).to_have_value("")  # the draft has stayed in its conversation
    page.locator("#side [data-act=go]").first.click()
    expect(page.locator("#thread .reply").last).to_contain_text(SEEN)
    expect(page.locator(FIELD)).to_have_value("a draft")


def test_conversations_are_searched_renamed_and_a_deletion_is_taken_back(page):
    rows = page.locator("#side li:visible")
    for text in ("hello", "what is this?"):
        page.locator("#side [data-act=new]").click()
        send(page, text)
        expect(page.locator("#side li.current")).to_contain_text(text)  # at once
        replied(page)
    page.locator("#side input[type=search]").fill("HELL")
    expect(rows).to_have_count(1)
    page.locator("#side summary:visible").click()
    page.locator("#side [data-act=rename]:visible").click()
    page.keyboard.type("first words")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(0)
    page.locator("#side input[type=search]").fill("")
    expect(page.locator("#side ul")).to_contain_text("first words")
    row = page.locator("#side li", has_text="first words")
    row.locator("summary").click()
    row.locator("[data-act=delete]").click()
    expect(page.locator("#side ul")).not_to_contain_text("first words")
    page.locator("#side [data-act=undo]").click()
    expect(page.locator("#side ul")).to_contain_text("first words")
    expect(page.locator("#thread .said")).to_contain_text("hello")
    expect(page.locator("#side time").first).to_contain_text(":")


@contextmanager
def paused(pool) -> Iterator[None]:
    """The engine does nothing meanwhile, so that the page shows that a reply is being generated."""
    go_on = threading.Event()
    pool.engine().call(lambda model: go_on.wait(PATIENCE / 1000))
    yield
    go_on.set()


def test_a_message_is_edited_and_asked_again_and_a_reply_copied(page, pool, tmp_path):
    send(page, "tell me", image_file(tmp_path))
    replied(page)
    page.locator("#thread .said").hover()
    page.locator("#thread [data-act=edit]").click()
    expect(page.locator(FIELD)).to_have_value("tell me")
    expect(page.locator("#composer .files li")).to_have_count(1)
    send(page, "what is this?")
    expect(page.locator("#thread .said")).to_contain_text("what is this?")
    expect(replied(page)).to_contain_text(SEEN)
    expect(page.locator("#thread .said img")).to_have_count(1)
    with paused(pool):
        page.locator("#thread [data-act=retry]").click()
        expect(page.locator("#composer [data-act=stop]")).to_be_visible()
    expect(replied(page)).to_contain_text(SEEN)
    page.locator("#thread [data-act=copy]").click()
    expect(page.locator("#thread [data-act=copy].done")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == SEEN


def test_the_microphone_is_heard(page):
    page.locator("#composer [data-act=record]").click()
    expect(page.locator("#composer .recording time")).to_have_text("0:02")
    page.locator("#composer [data-act=keep]").click()
    expect(page.locator("#composer .files li:not(.uploading)")).to_contain_text("recording.wav")
    page.locator(FIELD).press("Enter")
    expect(page.locator("#thread .said sound-player")).to_have_count(1)
    expect(replied(page)).not_to_be_empty()


def test_a_photo_is_taken_inside_the_window(page):
    page.locator("#composer [data-act=camera]").click()
    page.wait_for_function("document.querySelector('#composer dialog video').videoWidth > 0")
    box = page.locator("#composer dialog").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 800
    page.locator("#composer [data-act=shoot]").click()
    expect(page.locator("#composer .files li:not(.uploading) img")).to_have_count(1)
    expect(page.locator("#composer dialog")).not_to_be_visible()


def test_a_refused_file_leaves_and_its_message_stays_in_its_conversation(page, tmp_path):
    (tmp_path / "fake.png").write_text("no picture")
    send(page, "hello")
    replied(page)
    send(page, "look", image_file(tmp_path), tmp_path / "fake.png")
    expect(page.locator("#composer .notice b")).to_have_text("Not sent")
    expect(page.locator("#composer .notice")).to_contain_text("fake.png is mislabelled")
    expect(page.locator("#composer .files li")).to_have_count(1)
    expect(page.locator(FIELD)).to_have_value("look")
    expect(page.locator("#thread .turn")).to_have_count(1)
    page.locator("#side [data-act=new]").click()
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator("#composer .files li")).to_have_count(0)
    expect(page.locator("#composer .notice")).not_to_be_visible()


def test_files_are_pasted_and_dropped(page, tmp_path):
    give = """(kind) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from([137, 80, 78, 71])], "pasted.png", { type: "image/png" }));
      const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
        : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector("#thread").dispatchEvent(event);
    }"""
    for count, kind in enumerate(("paste", "drop"), 1):
        page.evaluate(give, kind)
        expect(page.locator("#composer .files li:not(.uploading)")).to_have_count(count)
    page.locator("#composer .files button").first.click()
    expect(page.locator("#composer .files li")).to_have_count(1)


def test_an_example_runs_on_a_click_and_points_turn(page, tmp_path):
    expect(page.locator(".empty [data-example]")).to_have_count(6)
    page.locator(".empty [data-example]").first.click()
    expect(page.locator("#thread .said .card img")).to_have_count(1)
    replied(page)
    cloud = save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy")
    send(page, "what is this?", cloud)
    page.wait_for_function("document.querySelector('point-cloud')?.points?.length > 0")
    before = page.evaluate("document.querySelector('point-cloud').turn")
    page.wait_for_function(f"document.querySelector('point-cloud').turn > {before + 0.1}")


def test_the_language_changes_everything_and_is_remembered(page):
    expect(page.locator("#side [data-act=new]")).to_have_text("New conversation")
    page.locator("#top [data-act=open-settings]").click()
    page.locator("#language label").last.click()
    for _ in range(2):
        expect(page.locator("#side [data-act=new]")).to_have_text("新对话")
        expect(page.locator(".empty h2")).to_have_text("想做点什么？")
        expect(page.locator("#tabs button[role=tab]").nth(1)).to_contain_text("示例")
        assert page.evaluate("document.documentElement.lang").startswith("zh")
        page.reload()


def test_the_theme_is_chosen_and_remembered(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#top [data-act=open-settings]").click()
    page.locator("#theme label").last.click()
    page.wait_for_function(f"{paper} !== '{light}'")
    page.reload()
    expect(page.locator(FIELD)).to_be_focused()
    assert page.evaluate(paper) != light
    assert page.evaluate("document.querySelector('#theme input:checked').value") == "dark"


def test_a_reply_is_explained_beside_it_and_media_are_mixed(page, tmp_path):
    send(page, "what is this?", image_file(tmp_path))
    expect(replied(page)).to_contain_text(SEEN)
    expect(page.locator("#explain")).not_to_be_visible()
    page.locator("#thread [data-act=explain]").click()
    expect(page.locator("#explanation .strip span").first).to_be_visible()
    expect(page.locator("#explanation .neighbours figure")).to_have_count(4)
    expect(page.locator("#explanation .gate-rows > div")).to_have_count(2)
    expect(page.locator("#thread .reply")).to_be_visible()
    assert page.locator("#explanation section").count() == page.locator("#explanation .lead").count()  # a line of help
    page.keyboard.press("Escape")
    expect(page.locator("#explain")).not_to_be_visible()
    expect(page.locator("#thread [data-act=explain]")).to_be_focused()
    page.locator("#tabs button[role=tab]").nth(2).click()
    page.locator("#mix").click()
    expect(page.locator("#sum .made img")).to_have_count(1)


def test_a_phone_has_room_for_everything(browser, page_address):
    page = open_page(browser, page_address, width=390, height=844, locale="zh-CN")
    expect(page.locator(".empty h2")).to_have_text("想做点什么？")  # as its browser asks
    send(page, "hello")
    expect(replied(page)).to_contain_text(HELLO)
    for tab in range(page.locator("#tabs .tab-container button[role=tab]:visible").count()):
        page.locator("#tabs .tab-container button[role=tab]:visible").nth(tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_nothing_comes_from_another_host(browser, page_address):
    context, hosts = browser.new_context(), set()
    page = context.new_page()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
    page.goto(page_address)
    expect(page.locator(".empty [data-example]")).to_have_count(6)
    assert hosts - {""} == {"127.0.0.1"}
    context.close()


def test_sixteen_files_are_taken_and_no_more(page, tmp_path):
    attach(page, *(image_file(tmp_path, f"{number}.png") for number in range(16)))
    page.locator("#composer input[type=file]").set_input_files([str(image_file(tmp_path, "17.png"))])
    expect(page.locator("#composer .notice")).to_contain_text("At most 16 files")
    expect(page.locator("#composer .files li")).to_have_count(16)
