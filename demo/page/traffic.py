"""The page's traffic: nothing is fetched from elsewhere, uploads have a limit, open pages are known."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
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
        self.app, self.folder, self.connected, self.uploading = app, folder, connected, 0

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
            self.uploading += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.uploading -= 1
                remove_old_uploads(self.folder, broken=not self.uploading)
        else:
            await self.app(scope, receive, send)


def remove_old_uploads(folder: Path, broken: bool = False) -> None:
    """Delete the oldest uploads beyond the limits, and ``broken`` ones. A message keeps copies of its own."""
    uploads = []
    for path in [path for top in folder.iterdir() if top.name not in KEPT for path in (top, *top.glob("**/*"))]:
        with contextlib.suppress(FileNotFoundError):  # gradio has moved it meanwhile
            if path.is_file():
                uploads.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in uploads)
    for changed, size, path in sorted(uploads):
        unfinished = path.parent == folder
        if total > UPLOAD_BYTES or time.time() - changed > UPLOAD_SECONDS or (broken and unfinished):
            total -= size
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds another upload, or more than uploads
                path.parent.rmdir()


def check_uploaded(path: Any) -> str:
    """The path of a file that a page names, if it was uploaded; gr.Error for any other, and for an address."""
    if "://" in str(path):
        raise gr.Error(SENTENCE, print_exception=False)
    folder = Path(get_upload_folder()).resolve()
    if not isinstance(path, str) or "\0" in path or not Path(path).resolve().is_relative_to(folder):
        raise gr.Error("This file was not uploaded.", print_exception=False)
    return path


def own_files_only(component: Any) -> Any:
    """Make a component that takes files refuse all but uploads: gradio would download addresses, and copy files."""
    keep_file = component.async_move_resource_to_block_cache

    async def keep_own_file(path: Any) -> str | None:
        return await keep_file(None if path is None else check_uploaded(str(path)))

    component.async_move_resource_to_block_cache = keep_own_file
    return component
