"""Nothing is fetched and nothing is served that is not the page's own; uploads have limits; open pages are known."""

import asyncio
import contextlib
import io
import os
import time

import httpx
import pytest
from PIL import Image

from tests.demo.page_client import PageClient
from tests.demo.taught import HELLO, SEEN
from tests.tiny_model import medium


def test_addresses_given_as_files_are_not_fetched(cache):
    import gradio as gr

    from demo.page.traffic import own_files_only

    with gr.Blocks(analytics_enabled=False):
        box = own_files_only(gr.MultimodalTextbox())
    with pytest.raises(gr.Error, match="not fetched"):
        asyncio.run(box.async_move_resource_to_block_cache("http://127.0.0.1:1/a.png"))
    for path in ("/etc/hostname", "/dev/zero", cache.parent / "conversations.sqlite", f"{cache}/../a.png", "a.png"):
        with pytest.raises(gr.Error, match="not uploaded"):
            asyncio.run(box.async_move_resource_to_block_cache(path))


@pytest.mark.parametrize("meta", [{"_type": "gradio.FileData"}, None])
def test_files_that_were_not_uploaded_are_not_read_whatever_component_names_them(page_address, cache, meta):
    (cache.parent / "outside.png").write_bytes(picture())
    page = PageClient(page_address).enter()
    before = sorted(cache.rglob("*"))
    mix = page.events[(page.ids["mix"], "click")]
    for path in (cache.parent / "outside.png", cache / ".." / "outside.png", "/dev/zero", "/etc/hostname"):
        with pytest.raises(RuntimeError):
            page.send("look", str(path))
        data: list = [None] * len(mix["inputs"])
        data[4] = {"path": str(path), "meta": meta}
        with pytest.raises(RuntimeError):
            page.join(mix, data)
    assert sorted(cache.rglob("*")) == before and page.turns() == []


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/a.png", 7, None, ["a"], "a\0b", ""])
def test_what_is_no_path_of_an_upload_is_refused(page_address, path):
    page = PageClient(page_address).enter()
    with pytest.raises(RuntimeError):
        page.send("look", path)
    assert page.turns() == []


@pytest.mark.parametrize(
    "path",
    ["file=https://example.org/a.png", "file=http:/example.org/a", "file=HTTPS%3A//example.org/", "file=ftp://a/b",
     "file=%20http://example.org", "file=file:///etc/hostname"],
)  # fmt: skip
def test_the_server_fetches_nothing_for_a_client(page_address, path):
    answer = httpx.get(f"{page_address}/gradio_api/{path}")
    assert answer.status_code == 403 and "not fetched" in answer.text


def test_files_outside_are_not_served(page_address, cache, visitor):
    outside = cache.parent / "secret.png"
    outside.write_bytes(b"\x89PNG secret")
    folder = visitor.current.folder
    (folder / "link.png").symlink_to(outside)
    up = f"{folder}/%2e%2e/%2e%2e/%2e%2e/secret.png"
    for path in (outside, f"{folder}/../../../secret.png", up, "pyproject.toml", "/etc/hostname", "/proc/self/environ",
                 folder / "link.png", cache.parent / "conversations.sqlite",
                 cache.parent / "conversations.sqlite-wal"):  # fmt: skip
        assert httpx.get(f"{page_address}/gradio_api/file={path}").status_code in (403, 404), path


def test_conversations_lie_where_nobody_can_guess(cache, visitor, page_address):
    key = visitor.current.folder.name
    assert len(key) == 32 and int(key, 16) and key != visitor.identity
    for listing in (cache, visitor.current.folder.parent, visitor.current.folder):
        assert httpx.get(f"{page_address}/gradio_api/file={listing}").status_code in (403, 404)


def test_uploads_that_a_browser_would_run_are_only_downloaded(page_address):
    page = PageClient(page_address)
    for name in ("a.html", "a.svg", "a.xhtml", "a.js", "a.xml"):
        [path] = page.upload(name, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").json()
        answer = page.get(f"/gradio_api/file={path}")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_old_uploads_go_when_there_are_too_many(tmp_path, monkeypatch):
    from demo.page.traffic import remove_old_uploads

    monkeypatch.setattr("demo.page.traffic.UPLOAD_BYTES", 250)
    kept = tmp_path / "conversations" / "a" / "1.png"
    uploads = [tmp_path / f"{number:064x}" / "a.png" for number in range(4)]
    for number, path in enumerate((kept, *uploads)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (time.time() - 100 + number, time.time() - 100 + number))
    remove_old_uploads(tmp_path)
    assert [path.parent.exists() for path in uploads] == [False, False, True, True] and kept.exists()
    os.utime(uploads[2], (0, 0))
    remove_old_uploads(tmp_path)
    assert [path.exists() for path in uploads] == [False, False, False, True]


def test_a_flood_of_uploads_has_a_limit(page_address, cache, monkeypatch):
    monkeypatch.setattr("demo.page.traffic.UPLOAD_BYTES", 2**20)
    page = PageClient(page_address)
    for number in range(30):
        assert page.upload("a.png", os.urandom(2**17) + bytes([number])).status_code == 200
    deadline = time.monotonic() + 10  # the oldest are removed after the answer
    while (left := uploaded_bytes(cache)) >= 2**20 + 2**19 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left < 2**20 + 2**19


def uploaded_bytes(cache) -> int:
    """Of the files that belong to no conversation; some may be removed meanwhile."""
    total = 0
    for path in cache.rglob("*"):
        if path.relative_to(cache).parts[0] != "conversations":
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
    return total


def test_an_upload_that_breaks_off_leaves_nothing(page_address, cache, monkeypatch):
    from demo.page.routes import LARGER

    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 2**16

    monkeypatch.setitem(LARGER, "/gradio_api/upload", 2**20)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    before = {path for path in cache.iterdir() if path.is_file()}
    answer = httpx.post(f"{page_address}/gradio_api/upload", content=endless(), headers=headers)
    assert answer.status_code == 413 and before == set()
    deadline = time.monotonic() + 10  # the answer goes out first
    while (left := {path for path in cache.iterdir() if path.is_file()}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


@pytest.mark.parametrize(
    "name", ["../../a.png", "..%2f..%2fa.png", "/etc/a.png", "a\\..\\b.png", "a" * 300 + ".png", ".png", "con\0.png"]
)
def test_names_of_uploads_are_no_paths(page_address, cache, name):
    answer = PageClient(page_address).upload(name, b"\x89PNG")
    assert answer.status_code in (200, 400) and all(
        path.startswith(str(cache)) for path in answer.json() if path[0] == "/"
    )


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(medium("image")["array"]).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_browser_talks_to_the_page_and_two_pages_are_two_conversations(page_address):
    first = PageClient(page_address).enter()
    assert first.conversations() == []
    [path] = first.upload("seen.png", picture()).json()
    assert SEEN in first.send("what is this?", path)[-1]
    second = PageClient(page_address, first.browser).enter()
    assert second.browser == first.browser
    assert HELLO in second.send("hello")[-1]
    assert len(first.send("thanks")) == 2 and second.conversations() == ["what is this?", "hello"]
    first.resume()
    reloaded = PageClient(page_address, first.browser, first.remembered).enter()
    assert len(reloaded.turns()) == 2


@pytest.mark.parametrize(
    "broken", [{"visitor": ["a"]}, {"visitor": {}, "language": ["zh"]}, [], "x", 7, {"visitor": None}]
)
def test_a_broken_memory_of_the_browser_opens_the_page_as_a_new_visitor(page_address, broken):
    page = PageClient(page_address, broken, {"a": 1} if broken == 7 else None).enter(broken)
    assert len(page.browser["visitor"]) == 32 and "What shall we make?" in page.resume()[0][0]


def test_a_page_is_open_while_its_browser_is_connected(cache):
    from demo.page.traffic import Traffic

    connected: set[str] = set()

    async def app(scope, receive, send) -> None:
        assert connected == {"abc"}

    asyncio.run(Traffic(app, cache, connected)({"path": "/gradio_api/heartbeat/abc"}, None, None))  # pyright: ignore[reportArgumentType]
    assert connected == set()
