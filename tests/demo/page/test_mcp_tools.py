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
from tests.demo.servers import free_port
from tests.demo.taught import user
from tests.tiny_model import medium, saying

ROOT = Path(__file__).parents[3]
TOOLS = {"chat", "make_image", "make_audio", "make_video"}


@pytest.fixture(scope="module")
def tools(pool):
    from demo.page.mcp_tools import McpTools

    return McpTools(pool)


def call(tool, *arguments):
    return asyncio.run(tool(*arguments))


def test_chat_takes_pictures_as_data(tools):
    from tests.demo.taught import SEEN

    [text] = call(tools.chat, "what is this?", [image_url(medium("image")["array"])])
    assert text.text == SEEN


def test_media_of_a_reply_are_content(tools):
    text, *media = call(tools.chat, "film it and play it")
    assert text.text == "Watch and listen." and [block.type for block in media] == ["resource", "audio"]
    assert media[0].resource.mimeType == "video/mp4" and base64.b64decode(media[0].resource.blob)[4:8] == b"ftyp"
    assert media[1].mimeType == "audio/wav" and base64.b64decode(media[1].data).startswith(b"RIFF")


def test_a_medium_is_made_of_a_description(tools, taught):
    with saying(taught, [[user("Draw a bell")]], [("image",)]):
        first, second = (
            Image.open(io.BytesIO(base64.b64decode(block.data)))
            for seed in (3, 4)
            for block in call(tools.maker("image"), "a bell", seed)
        )
    assert first.size == (64, 64) and (np.asarray(first) != np.asarray(second)).any()


def test_what_the_model_does_not_draw_is_an_error_with_its_answer(tools, taught):
    with (
        saying(taught, [[user("Draw a submarine")]], [()], words="No submarines."),
        pytest.raises(ValueError, match=r"made no picture of this; its answer: No submarines\."),
    ):
        call(tools.maker("image"), "a submarine")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["http://127.0.0.1/a.png"], "no data URL"),
        (["/etc/hostname"], "no data URL"),
        (["data:image/png;base64,no base64!"], "not base64"),
        (["data:image/png;base64,bm8gcGljdHVyZQ=="], "file-1"),
        (["data:,"] * 9, "at most 8"),
    ],
)
def test_anything_but_media_as_data_is_refused(tools, files, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(tools.chat, "look", files)


def test_nothing_said_is_refused(tools):
    with pytest.raises(ValueError, match="give a message"):
        call(tools.chat, "  ")
    with pytest.raises(ValueError, match="prompt is empty"):
        call(tools.maker("video"), " ")
    with pytest.raises(ValueError, match="seed is -1"):
        call(tools.maker("image"), "a bell", -1)


def test_what_the_tools_take_is_described_by_valid_schemas(tools):
    from jsonschema import Draft202012Validator

    listed = asyncio.run(tools.server("/").list_tools())
    assert {tool.name for tool in listed} == TOOLS
    for tool in listed:
        Draft202012Validator.check_schema(tool.inputSchema)
    [chat] = [tool for tool in listed if tool.name == "chat"]
    assert Draft202012Validator(chat.inputSchema).is_valid({"message": "look", "files": ["data:,"]})


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[str]:
    """``nextgpt-lite demo`` in a process of its own; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "nextgpt_lite.cli", "demo", "--model", "nano", "--port", str(port)]
    command += ["--data", str(tmp_path_factory.mktemp("data"))]
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
        declined = await session.call_tool("make_image", {"prompt": "a submarine", "seed": 2})
        refused = await session.call_tool("chat", {"message": "look", "files": ["http://127.0.0.1/a"], "seed": 0})
        return listed, said, drawn, declined, refused


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_of_the_protocol_talks_and_draws(process):
    listed, said, drawn, declined, refused = asyncio.run(use(process))
    assert {tool.name for tool in listed} == TOOLS
    assert all(tool.description and "seed" in tool.inputSchema["properties"] for tool in listed)
    assert not said.isError and said.content
    [picture] = [part for part in drawn.content if part.type == "image"]
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).size == (64, 64)
    assert declined.isError and "the model made no picture of this" in declined.content[0].text
    assert refused.isError and "no data URL" in refused.content[0].text
