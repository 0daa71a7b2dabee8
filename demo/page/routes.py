"""The page as an application: of what gradio's server offers, only what this page uses; anything else answers 404."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING, cast

import gradio as gr
from fastapi import FastAPI
from gradio.utils import get_upload_folder
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.page.appearance import head, theme
from demo.page.mcp_tools import McpTools
from demo.page.traffic import Traffic
from demo.serving.guard import BODY_BYTES, LOOPBACK, Guard
from nextgpt_lite.conversation_media import MAX_BYTES

if TYPE_CHECKING:
    from demo.page.app import Page
    from demo.runs.pages import RunPages

#: Routes of gradio's that the page uses, with their method.
USED = {
    "/": "GET",
    "/config": "GET",
    "/theme.css": "GET",
    "/favicon.ico": "GET",
    "/assets/{path:path}": "GET",
    "/static/{path:path}": "GET",
    "/gradio_api/info": "GET",
    "/gradio_api/heartbeat/{session_hash}": "GET",
    "/gradio_api/queue/join": "POST",
    "/gradio_api/queue/data": "GET",
    "/gradio_api/cancel": "POST",
    "/gradio_api/upload": "POST",
    "/gradio_api/upload_progress": "GET",
    "/gradio_api/file={path_or_url:path}": "GET",
}
TOOLS = "/gradio_api/mcp"
#: The most bytes of a request, and of those that carry files.
PAGE_BYTES, LARGER = 2**20, {"/gradio_api/upload": 4 * MAX_BYTES, TOOLS: BODY_BYTES}
#: Whatever a message or a file says, a browser runs and loads nothing from elsewhere.
HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def application(
    page: Page, keys: Collection[str] = (), hosts: Collection[str] = LOOPBACK, runs: RunPages | None = None
) -> Guard:
    """The ASGI application of a page, of its tools and of the pages of runs. See :class:`demo.serving.guard.Guard` for
    who may use it."""
    whole = everything(page.blocks)
    traffic = Traffic(whole, Path(get_upload_folder()), page.visitors.connected)
    tools = McpTools(page.pool).server(TOOLS)
    protocol = cast(Route, tools.streamable_http_app().routes[0]).endpoint

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with whole.router.lifespan_context(whole), tools.session_manager.run():
            yield

    routes = [Route(path, traffic, methods=[method]) for path, method in USED.items() if path != "/"]
    routes += [Route("/", WithHead(traffic), methods=["GET"])]
    routes += [Route(path, protocol, methods=["POST", "DELETE"]) for path in (TOOLS, TOOLS + "/")]
    routes += runs.routes if runs else []
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return Guard(app, keys=keys, hosts=hosts, body_bytes=PAGE_BYTES, larger=LARGER, headers=HEADERS)


class WithHead:
    """Stands in front of gradio's page and puts our scripts and styles first in its head: gradio would add them when
    its own scripts have run, after the language is chosen and the page is painted."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.head = app, head().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []
        plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]

        async def collect(message: Message) -> None:
            messages.append(message)

        await self.app({**scope, "headers": plain}, receive, collect)
        start, *rest = messages
        page = b"".join(each.get("body", b"") for each in rest).replace(b"<head>", b"<head>" + self.head, 1)
        headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(page)).encode())]})
        await send({"type": "http.response.body", "body": page})


def everything(blocks: gr.Blocks) -> FastAPI:
    """Gradio's whole server for ``blocks``."""
    # Gradio checks which files a client names only where it believes that the page is served.
    blocks.has_launched = blocks.is_running = True
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None), blocks, path="/", allowed_paths=[], max_file_size=MAX_BYTES,
        enable_monitoring=False, run_history=False, footer_links=[], ssr_mode=False, pwa=False, mcp_server=False,
        theme=theme(), show_error=False,
    )  # fmt: skip
