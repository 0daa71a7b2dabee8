"""Tools of the Model Context Protocol. Files come in as data URLs and are checked as every other upload."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from mcp.server.fastmcp import FastMCP
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import AudioContent, BlobResourceContents, ContentBlock, EmbeddedResource, ImageContent, TextContent
from pydantic import AnyUrl, Field
from starlette.concurrency import run_in_threadpool

from data.modalities import MODALITIES
from demo.data_urls import base64_of_url, from_base64
from demo.engine.job import QueueFull
from demo.engine.model_pool import ModelPool
from demo.serving.guard import BODY_BYTES
from demo.texts import request_for, translate
from nextgpt_lite import ReplyMedium
from nextgpt_lite.conversation_media import read_upload, reply_medium_bytes

#: The most files and characters of one message.
MAX_FILES, MAX_TEXT = 8, 100_000
Message = Annotated[
    str,
    Field(
        max_length=MAX_TEXT,
        description='What to say, in English or Chinese, e.g. "What is this?" or "Draw a red bell."',
    ),
]
Files = Annotated[
    list[str],
    Field(description='Images, videos, sounds or point clouds, each as a data URL: "data:image/png;base64,..."'),
]
Seed = Annotated[int, Field(description="Seed of the noise that media are generated from.")]
Prompt = Annotated[
    str,
    Field(max_length=MAX_TEXT, description='What to generate, e.g. "a red bell" or "a green car moving left".'),
]


class McpTools:
    """Typed functions over a pool's first model: ``chat``, and ``make_image`` and so on for each medium it generates.

    Each call stands for itself: there is no conversation. ValueError, in a sentence, for what is refused.
    """

    def __init__(self, pool: ModelPool) -> None:
        self.pool = pool

    def server(self, path: str) -> FastMCP:
        """A server of the protocol at ``path``; it keeps nothing between two requests."""
        server = FastMCP(
            "nextgpt_lite", stateless_http=True, streamable_http_path=path, max_request_body_size=BODY_BYTES,
            log_level="WARNING",
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # the guard's work
        )  # fmt: skip
        for tool in (self.chat, *map(self.maker, self.pool.output_modalities())):
            server.add_tool(tool, structured_output=False)
        return server

    async def chat(self, message: Message, files: Files = [], seed: Seed = 0) -> list[ContentBlock]:  # noqa: B006
        """Send a message, with media if you like, and get text and media back."""
        return await run_in_threadpool(self._chat, message, files, seed)

    def maker(self, modality: str) -> Callable[..., Any]:
        """The tool that generates a medium of ``modality`` from a prompt."""

        async def make(prompt: Prompt, seed: Seed = 0) -> list[ContentBlock]:
            return await run_in_threadpool(self._make, modality, prompt, seed)

        make.__name__ = f"make_{modality}"
        make.__doc__ = f"Generate a {translate('en', modality)} of what the prompt describes, in English or Chinese."
        return make

    def _chat(self, message: str, files: list[str], seed: int) -> list[ContentBlock]:
        if len(files) > MAX_FILES:
            raise ValueError(f"{len(files)} files: at most {MAX_FILES} are read at a time")
        content = [_part(address, number) for number, address in enumerate(files, 1)]
        content += [{"type": "text", "text": message}] if message.strip() else []
        if not content:
            raise ValueError("give a message or a file")
        return self._ask(content, seed)

    def _make(self, modality: str, prompt: str, seed: int) -> list[ContentBlock]:
        if not prompt.strip():
            raise ValueError("the prompt is empty: describe what to generate")
        content = [{"type": "text", "text": request_for(modality, prompt)}]
        [said, *blocks] = self._ask(content, seed, allowed_media={modality})
        if not blocks:
            answer = said.text if isinstance(said, TextContent) else ""
            raise ValueError(f"the model made no {translate('en', modality)} of this; its answer: {answer}")
        return blocks

    def _ask(self, content: list[dict[str, Any]], seed: int, **settings: Any) -> list[ContentBlock]:
        """The reply's text, then its media."""
        try:
            job = self.pool.engine().submit([{"role": "user", "content": content}], seed=seed, **settings)
        except QueueFull as error:
            raise ValueError(str(error)) from error
        reply = job.result().reply
        return [TextContent(type="text", text=reply.text), *map(_block, reply.media)]


def _part(address: str, number: int) -> dict[str, Any]:
    """A data URL as a content part. Anything else is refused: nothing is fetched, no path is opened."""
    data, name = base64_of_url(address), f"file {number}"
    if data is None:
        raise ValueError(f"{name} is no data URL: expected data:TYPE;base64,...")
    with tempfile.TemporaryDirectory(prefix="tool-") as folder:
        path = Path(folder) / f"file-{number}"  # without an extension: the content alone decides its type
        path.write_bytes(from_base64(data, name))
        return read_upload(path)


def _block(medium: ReplyMedium) -> ContentBlock:
    """A medium of a reply as the protocol's content: an image, a sound, or an embedded file of another kind."""
    entry, data = MODALITIES[medium.modality], base64.b64encode(reply_medium_bytes(medium)).decode()
    if entry.mime.startswith("image/"):
        return ImageContent(type="image", data=data, mimeType=entry.mime)
    if entry.mime.startswith("audio/"):
        return AudioContent(type="audio", data=data, mimeType=entry.mime)
    address = AnyUrl(f"reply://media/{medium.modality}{entry.suffix}")  # a name; there is no such file anywhere
    resource = BlobResourceContents(uri=address, mimeType=entry.mime, blob=data)
    return EmbeddedResource(type="resource", resource=resource)
