"""Of gradio's server only what the page uses is there, for this machine's own pages only, and within bounds."""

import re

import httpx
import pytest

from demo.serving.guard import LOOPBACK
from tests.demo.page_client import PageClient

#: Routes of gradio's that somebody has looked at and that this page does not use: they answer 404.
UNUSED = [
    "/config/", "/login", "/login/", "/logout", "/manifest.json", "/monitoring", "/monitoring/summary",
    "/monitoring/{key}", "/pwa_icon", "/pwa_icon/{size}", "/robots.txt", "/svelte/{path}",
    "/gradio_api/api/{api_name}", "/gradio_api/api/{api_name}/", "/gradio_api/app_id", "/gradio_api/app_id/",
    "/gradio_api/call/v2/{api_name}", "/gradio_api/call/v2/{api_name}/", "/gradio_api/call/v2/{api_name}/{event_id}",
    "/gradio_api/call/{api_name}", "/gradio_api/call/{api_name}/", "/gradio_api/call/{api_name}/{event_id}",
    "/gradio_api/component_server", "/gradio_api/component_server/",
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}", "/gradio_api/deep_link",
    "/gradio_api/dev/reload", "/gradio_api/file/{path}", "/gradio_api/info/", "/gradio_api/login_check",
    "/gradio_api/login_check/", "/gradio_api/openapi.json", "/gradio_api/process_recording",
    "/gradio_api/proxy={url_path}", "/gradio_api/queue/status", "/gradio_api/reset", "/gradio_api/reset/",
    "/gradio_api/run-history/buckets", "/gradio_api/run-history/connect", "/gradio_api/run-history/records",
    "/gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}", "/gradio_api/run/{api_name}",
    "/gradio_api/run/{api_name}/", "/gradio_api/runs", "/gradio_api/runs/", "/gradio_api/startup-events",
    "/gradio_api/stream/{event_id}", "/gradio_api/stream/{event_id}/close",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}", "/gradio_api/theme.css",
    "/gradio_api/token", "/gradio_api/token/", "/gradio_api/undo-vibe-edit", "/gradio_api/undo-vibe-edit/",
    "/gradio_api/user", "/gradio_api/user/", "/gradio_api/vibe-code", "/gradio_api/vibe-code/",
    "/gradio_api/vibe-edit", "/gradio_api/vibe-edit/", "/gradio_api/vibe-starter-queries",
    "/gradio_api/vibe-starter-queries/",
]  # fmt: skip


def test_every_route_of_this_gradio_was_judged(cache):
    """A new version with a new route fails here: decide in demo/page/routes.py or above whether the page uses it."""
    import gradio as gr

    from demo.page.routes import USED, everything

    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.State(None)
    gradio = everything(blocks).routes[-1].app  # pyright: ignore[reportAttributeAccessIssue]
    found = set(gradio.openapi()["paths"])
    judged = {path.replace(":path}", "}") for path in USED} | set(UNUSED)
    assert found - judged == set() and len(found) > 50
    assert {path.replace(":path}", "}") for path in USED} <= found


@pytest.mark.parametrize("path", UNUSED)
def test_what_the_page_does_not_use_is_not_there(page_address, path):
    filled = re.sub(r"{\w+}", "x", path)
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert httpx.request(method, page_address + filled, json={}).status_code in (404, 405), method


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/gradio_api/mcp/sse", "/gradio_api/mcp/schema", "//", "/x", "/runs"]
)
def test_other_paths_are_not_there(page_address, path):
    assert httpx.get(page_address + path).status_code == 404


def test_a_recording_is_not_given_to_a_decoder(page_address):
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n"
    answer = httpx.post(f"{page_address}/gradio_api/process_recording", files={"file": ("x.mp4", playlist)})
    assert answer.status_code == 404


def test_the_page_is_there_and_offers_no_function_to_other_programs(page_address):
    answer = httpx.get(page_address)
    assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    config = httpx.get(f"{page_address}/config").json()
    assert config["title"] == "nextgpt_lite" and config["connect_heartbeat"]
    assert {each.get("api_visibility") for each in config["dependencies"]} == {"private"}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "evil@127.0.0.1",
     "localhost.evil.example", "[::1].evil.example", "[fe80::1]", "0.0.0.0", "2130706433", "localhost:x", "local host"],
)  # fmt: skip
def test_other_hosts_are_refused(page_address, host):
    for path in ("/", "/config", "/gradio_api/mcp/"):
        assert httpx.get(page_address + path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "[::1]:80", "127.0.0.1:7860"])
def test_this_machine_is_known_by_its_names(page_address, host):
    assert httpx.get(page_address, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1", "http://localhost:1", "x"])
def test_other_origins_are_refused_and_their_uploads_not_kept(page_address, cache, origin):
    page = PageClient(page_address)
    before = sorted(cache.rglob("*"))
    assert page.upload("a.png", b"\x89PNG", Origin=origin).status_code == 403
    assert page.post("/gradio_api/mcp/", json={}, headers={"Origin": origin}).status_code == 403
    assert sorted(cache.rglob("*")) == before


def test_the_pages_own_origin_may_upload(page_address):
    assert PageClient(page_address).upload("a.png", b"\x89PNG", Origin=page_address).status_code == 200


def test_requests_that_another_page_causes_are_refused(page_address):
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        assert httpx.get(f"{page_address}/config", headers=headers).status_code == 403
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert httpx.get(page_address, headers=link).status_code == 200


def test_bodies_have_bounds_however_they_come(page_address):
    large = b'{"data": ["' + b"x" * 2**21 + b'"]}'
    chunks = (large[start : start + 2**16] for start in range(0, len(large), 2**16))
    for body in (large, chunks):
        answer = httpx.post(
            f"{page_address}/gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413 and "more than 1 MiB" in answer.text
    deep = b"[" * 500_000
    answer = httpx.post(
        f"{page_address}/gradio_api/queue/join", content=deep, headers={"Content-Type": "application/json"}
    )
    assert 400 <= answer.status_code < 500


def test_keys_are_asked_of_browsers_and_programs(pool, cache):
    from demo.page.app import Page
    from demo.page.routes import application
    from demo.page.visitors import Visitors
    from demo.serving import running

    visitors = Visitors(cache.parent)
    app = application(Page(pool, visitors, []), ["secret"], LOOPBACK)
    with running.listen("127.0.0.1", 0) as listener, running.serving(app, listener, grace=1):
        address = running.address_of(listener)
        for path in ("/", "/config", "/gradio_api/mcp/", "/gradio_api/file=x", "/healthz/"):
            answer = httpx.get(address + path)
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
        assert httpx.get(address, auth=("anyone", "wrong")).status_code == 401
        assert httpx.get(address, auth=("anyone", "secret")).status_code == 200
        assert httpx.get(address, headers={"Authorization": "Bearer secret"}).status_code == 200
    visitors.close()
