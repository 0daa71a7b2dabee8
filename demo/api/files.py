"""``/v1/files``: media that a client uploads once and refers to by id, and media of replies."""

import re
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from demo.api.errors import ApiError
from demo.api.service import CurrentService, CurrentSession
from demo.api.sessions import Sessions, StoredFile
from nextgpt_lite.conversation_media import upload_suffix

router = APIRouter(prefix="/v1/files")
#: A stored file is shown by its own type, and never as something that a browser runs.
HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}


@router.post("")
async def upload(
    file: UploadFile, session: CurrentSession, service: CurrentService, purpose: Annotated[str, Form()] = "user_data"
) -> StoredFile:
    """Store a medium; it is decoded once to know that it can be. Point clouds are uploaded in this way only."""
    filename, limit = (file.filename or "upload")[-100:], service.uploads.limits.bytes
    upload_suffix(filename)  # MediaError for a name of another kind
    if (file.size or 0) > limit:
        raise ApiError(413, f"{filename} has more than {limit / 2**20:g} MiB", "too_large")
    content = await run_in_threadpool(file.file.read)
    stored = service.sessions.add(session, content, filename, purpose[:40])
    try:
        stored.modality = (await service.read(stored.path, filename))["type"]
    except Exception:
        session.remove(stored.id)
        raise
    return stored


@router.get("")
async def list_files(session: CurrentSession) -> dict[str, Any]:
    names = [*session.files] or [None]
    ends = {"first_id": names[0], "last_id": names[-1]}
    return {"object": "list", "data": [*session.files.values()], "has_more": False} | ends


@router.get("/{name}")
async def show(name: str, session: CurrentSession) -> StoredFile:
    return session.find(name)


def is_signed(scope: Scope, sessions: Sessions) -> bool:
    """Whether a request asks for a file's content by its signed address: such requests need no key."""
    found = re.fullmatch(r"/v1/files/([\w-]+)/content", scope["path"])
    given = parse_qs(scope["query_string"].decode("latin-1")).get("signature", [""])[0]
    return scope["method"] in ("GET", "HEAD") and bool(found) and sessions.is_signed(found[1], given)


@router.get("/{name}/content", response_class=Response)
async def content(name: str, session: CurrentSession, service: CurrentService, signature: str = "") -> Response:
    stored = service.sessions.find(session, name, signature)
    body = await run_in_threadpool(stored.path.read_bytes)
    return Response(body, media_type=stored.mime_type, headers=HEADERS)


@router.delete("/{name}")
async def delete(name: str, session: CurrentSession) -> dict[str, Any]:
    session.remove(name)
    return {"id": name, "object": "file", "deleted": True}
