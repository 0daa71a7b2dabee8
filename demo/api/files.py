"""``/v1/files``: media that a client brings once and refers to by id, and media that replies brought."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from demo.api.errors import ApiError
from demo.api.service import Here
from nextgpt_lite.visitors_media import suffix_of

router = APIRouter(prefix="/v1/files")
#: A stored file is shown as what it is, and as nothing that a browser runs.
HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}


@router.post("")
async def upload(
    file: UploadFile, request: Request, here: Here, purpose: Annotated[str, Form()] = "user_data"
) -> dict[str, Any]:
    """Take a medium in; it is decoded once to know that it can be. Points come in this way only."""
    filename = (file.filename or "upload")[-100:]
    suffix = suffix_of(filename)
    if (file.size or 0) > here.door.limits.bytes:
        raise ApiError(413, f"{filename} has more than {here.door.limits.bytes / 2**20:g} MiB", "too_large")
    content = await run_in_threadpool(file.file.read)
    session = here.sessions.of(request)
    mime = mimetypes.types_map.get(suffix, "application/octet-stream")
    stored = here.sessions.add(session, content, filename, suffix, mime, "unknown", purpose[:40])
    try:
        part = await here.read(stored.path, filename)
    except Exception:
        here.sessions.remove(session, stored.id)
        raise
    return here.sessions.identify(session, stored.id, part["type"]).as_object()


@router.get("")
async def list_files(request: Request, here: Here) -> dict[str, Any]:
    files = [stored.as_object() for stored in here.sessions.of(request).files.values()]
    ends = {"first_id": files[0]["id"] if files else None, "last_id": files[-1]["id"] if files else None}
    return {"object": "list", "data": files, "has_more": False} | ends


@router.get("/{name}")
async def show(name: str, request: Request, here: Here) -> dict[str, Any]:
    return here.sessions.find(here.sessions.of(request), name).as_object()


@router.get("/{name}/content")
async def content(name: str, request: Request, here: Here) -> Response:
    stored = here.sessions.find(here.sessions.of(request), name)
    body = await run_in_threadpool(stored.path.read_bytes)
    return Response(body, media_type=stored.mime_type, headers=HEADERS)


@router.delete("/{name}")
async def delete(name: str, request: Request, here: Here) -> dict[str, Any]:
    here.sessions.remove(here.sessions.of(request), name)
    return {"id": name, "object": "file", "deleted": True}
