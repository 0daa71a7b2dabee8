"""The page's traffic: nothing is fetched from elsewhere, uploads have a limit, open pages are known."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SENTENCE = "Addresses are not fetched: download the file and attach it."
#: Requests by which gradio's server would fetch something from another host on behalf of a client.
_FETCHES = re.compile(r"/file=\s*[a-z][a-z\d+.-]*:", re.IGNORECASE)
#: The most bytes of uploads that no message has taken yet, and how long they are kept, in seconds.
UPLOAD_BYTES, UPLOAD_SECONDS = 2**30, 86_400.0
#: Folders beside the uploads: they have their own limits.
KEPT = ("conversations", "examples")


class Traffic:
    """Stands in front of gradio's application. ``connected`` gets the sessions of the pages that are open in a browser;
    ``folder`` is where gradio keeps uploads."""

    def __init__(self, app: ASGIApp, folder: Path, connected: set[str]) -> None:
        self.app, self.folder, self.connected = app, folder, connected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if _FETCHES.search(path):
            await PlainTextResponse(SENTENCE, status_code=403)(scope, receive, send)
        elif path.startswith("/gradio_api/heartbeat/"):
            session = path.rpartition("/")[2]
            self.connected.add(session)
            try:
                await self.app(scope, receive, send)
            finally:
                self.connected.discard(session)
        elif path == "/gradio_api/upload":
            try:
                await self.app(scope, receive, send)
            finally:
                await run_in_threadpool(remove_old_uploads, self.folder)
        else:
            await self.app(scope, receive, send)


def remove_old_uploads(folder: Path) -> None:
    """Delete the oldest uploads beyond the limits. A message keeps copies of its own."""
    uploads = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # gradio has moved it meanwhile
            if path.is_file() and path.relative_to(folder).parts[0] not in KEPT:
                uploads.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in uploads)
    for changed, size, path in sorted(uploads):
        if total <= UPLOAD_BYTES and time.time() - changed < UPLOAD_SECONDS:
            break
        path.unlink(missing_ok=True)
        if path.parent != folder:
            with contextlib.suppress(OSError):  # it holds another upload
                path.parent.rmdir()
        total -= size


def own_files_only(component: Any) -> Any:
    """Make a component that takes files refuse an address: gradio would download what a client gives as one."""
    keep_file = component.async_move_resource_to_block_cache

    async def keep_file_of_this_machine(path: Any) -> str | None:
        if "://" in str(path):
            raise gr.Error(SENTENCE, print_exception=False)
        return await keep_file(path)

    component.async_move_resource_to_block_cache = keep_file_of_this_machine
    return component
