"""Nothing is fetched and nothing is served that is not the page's own."""

import asyncio

import httpx
import pytest


def test_addresses_given_as_files_are_not_fetched(cache):
    import gradio as gr

    from demo.page.local_files import own_files_only

    with gr.Blocks(analytics_enabled=False):
        box = own_files_only(gr.MultimodalTextbox())
    with pytest.raises(gr.Error, match="not fetched"):
        asyncio.run(box.async_move_resource_to_block_cache("http://127.0.0.1:1/a.png"))


@pytest.mark.parametrize(
    "path", ["file=https://example.org/a.png", "file=http:/example.org/a", "proxy=https://example.org/"]
)
def test_the_server_fetches_nothing_for_a_client(page_address, path):
    answer = httpx.get(f"{page_address}/gradio_api/{path}")
    assert answer.status_code == 403 and "not fetched" in answer.text


def test_files_outside_are_not_served(page_address, cache, visitor):
    outside = cache.parent / "secret.png"
    outside.write_bytes(b"\x89PNG secret")
    for path in (outside, f"{visitor.folder}/../../secret.png", "pyproject.toml", "/etc/hostname"):
        assert httpx.get(f"{page_address}/gradio_api/file={path}").status_code in (403, 404)


def test_the_page_is_there_and_loads_nothing_from_elsewhere(page_address):
    answer = httpx.get(page_address)
    assert answer.status_code == 200
    config = httpx.get(f"{page_address}/config").json()
    assert config["title"] == "nextgpt_lite" and config["enable_queue"]
    public = {d["api_name"] for d in config["dependencies"] if d.get("api_visibility") == "public"}
    assert public == {"chat", "make_image", "make_audio", "make_video"}


def test_visitors_files_lie_where_nobody_can_guess(cache, visitor, page_address):
    key = visitor.folder.name.removeprefix("visitor-")
    assert len(key) == 32 and int(key, 16) and key != visitor.identity
    for listing in (cache, visitor.folder.parent, visitor.folder):
        assert httpx.get(f"{page_address}/gradio_api/file={listing}").status_code in (403, 404)
