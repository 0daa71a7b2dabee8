"""Other programs call the model over the Model Context Protocol: a real process, the protocol's own client."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.data_urls import image_url
from tests.demo.serving import free_port
from tests.tiny_model import medium

ROOT = Path(__file__).parents[3]
TOOLS = {"chat", "make_image", "make_audio", "make_video"}


@pytest.fixture(scope="module")
def tools(pool):
    from demo.page.mcp_tools import McpTools

    return McpTools(pool)


def test_chat_takes_pictures_as_data(tools):
    from tests.demo.taught import SEEN

    text, *media = tools.chat("what is this?", [image_url(medium("image")["array"])])
    assert text == SEEN and media == [None, None, None]


def test_a_medium_is_made_whatever_the_model_would_say(tools):
    first, second = (Image.open(tools.maker("image")("a bell", seed)) for seed in (3, 4))
    assert first.size == (64, 64) and (np.asarray(first) != np.asarray(second)).any()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["http://127.0.0.1/a.png"], "no data URL"),
        (["/etc/hostname"], "no data URL"),
        (["data:image/png;base64,no base64!"], "not base64"),
        (["data:image/png;base64,bm8gcGljdHVyZQ=="], "file-1"),
        ("data:image/png;base64,", "must be a list"),
        (["data:,"] * 9, "at most 8"),
    ],
)
def test_anything_but_media_as_data_is_refused(tools, files, sentence):
    import gradio as gr

    with pytest.raises(gr.Error, match=sentence):
        tools.chat("look", files)


def test_nothing_said_is_refused(tools):
    import gradio as gr

    with pytest.raises(gr.Error, match="give a message"):
        tools.chat("  ")
    with pytest.raises(gr.Error, match="prompt is empty"):
        tools.maker("video")(" ")


def test_what_the_tools_take_is_described_by_valid_schemas(tools):
    import gradio as gr
    from jsonschema import Draft202012Validator

    with gr.Blocks() as page:
        tools.publish()
    endpoints = page.get_api_info()["named_endpoints"]
    assert set(endpoints) == {f"/{name}" for name in TOOLS}
    for endpoint in endpoints.values():
        for parameter in endpoint["parameters"]:
            Draft202012Validator.check_schema(parameter["type"])
    [files] = [each for each in endpoints["/chat"]["parameters"] if each["parameter_name"] == "files"]
    assert Draft202012Validator(files["type"]).is_valid(["data:,"]) and files["parameter_has_default"]


@pytest.fixture(scope="module")
def process(tiny_folder) -> Iterator[str]:
    """``nextgpt-lite demo`` with the tiny model, in a process of its own; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "nextgpt_lite.cli", "demo", "--model", str(tiny_folder), "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        address = f"http://127.0.0.1:{port}"
        assert any(line.startswith(address) for line in running.stdout)  # gradio says something of its own before
        yield address
        running.send_signal(signal.SIGINT)


async def use(address: str):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(f"{address}/gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        listed = (await session.list_tools()).tools
        said = await session.call_tool("chat", {"message": "hello", "files": [], "seed": 1})
        drawn = await session.call_tool("make_image", {"prompt": "a red bell", "seed": 2})
        refused = await session.call_tool("chat", {"message": "look", "files": ["http://127.0.0.1/a"], "seed": 0})
        return listed, said, drawn, refused


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_of_the_protocol_talks_and_draws(process):
    listed, said, drawn, refused = asyncio.run(use(process))
    assert {tool.name for tool in listed} == TOOLS
    assert all(tool.description and "seed" in tool.inputSchema["properties"] for tool in listed)
    assert not said.isError and said.content
    [picture] = [part for part in drawn.content if part.type == "image"]
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).size == (64, 64)
    assert refused.isError and "no data URL" in refused.content[0].text
