"""Only files that the page itself has received or written are served; no address is ever fetched."""

import re
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SENTENCE = "Addresses are not fetched: download the file and attach it."
#: Requests by which gradio's server would fetch something from another host on behalf of a client.
_FETCHES = re.compile(r"/(?:file=|proxy=|file/|proxy/)(?:https?|ftp)(?::|%3a)", re.IGNORECASE)


class FetchNothing:
    """Refuses requests that would make this server fetch another host's address."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _FETCHES.search(scope["path"]):
            await PlainTextResponse(SENTENCE, status_code=403)(scope, receive, send)
            return
        await self.app(scope, receive, send)


#: For the server's settings.
MIDDLEWARE = [Middleware(FetchNothing)]


def own_files_only(component: Any) -> Any:
    """Make a component that takes files refuse an address: gradio would download what a client gives as one."""
    keep_file = component.async_move_resource_to_block_cache

    async def keep_file_of_this_machine(path: Any) -> str | None:
        if "://" in str(path):
            raise gr.Error(SENTENCE, print_exception=False)
        return await keep_file(path)

    component.async_move_resource_to_block_cache = keep_file_of_this_machine
    return component
