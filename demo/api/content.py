"""OpenAI's messages -> messages as the model takes them.

Media of a reply are links in its text (:func:`media_link`): that is what every client shows and sends back. In an
assistant's message such a link is read as the medium again.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from data.modalities import MODALITIES
from demo.api.errors import ApiError, repr_of
from demo.api.service import Service
from demo.api.sessions import Session
from demo.data_urls import base64_of_url, from_base64
from nextgpt_lite.conversation_media import MediaError

#: The most media, and characters of text, in one request.
MAX_MEDIA, MAX_TEXT = 16, 1_000_000
#: Kinds of content parts that hold an address, and the modality that each must have.
ADDRESSED = {f"{name}_url": name for name in MODALITIES}
#: Roles that clients use, and ours.
ROLES = {"developer": "system"}
_FILE = r"/v1/files/(?P<id>file-[\w-]+)(?:/content)?(?:\?signature=(?P<signature>\w+))?"
_FILE_ADDRESS = re.compile(rf"(?:https?://[^/\s]+)?{_FILE}|(?P<name>file-[\w-]+)")
_MEDIA_LINK = re.compile(rf"\n*!?\[(?P<modality>{'|'.join(MODALITIES)})\]\((?:https?://[^/\s)]+)?{_FILE}\)\n*")


class MediaLink(dict[str, Any]):
    """A content part made of a link in a reply: its ``modality``, the file's ``id`` and its ``signature``."""


class Message(BaseModel):
    """One of OpenAI's messages. ``media`` are those of an earlier reply that is sent back."""

    role: str
    content: Any = None
    media: list[dict[str, Any]] | None = None

    @property
    def parts(self) -> list[Any]:
        """The parts of the content, those of links in a reply too, then media that have none. ApiError for others."""
        parts = [{"type": "text", "text": self.content}] if isinstance(self.content, str) else self.content or []
        if not isinstance(parts, list):
            raise ApiError(400, "content must be a string or a list of parts")
        if self.role == "assistant":
            parts = [each for part in parts for each in _linked(part)]
        linked = {part["id"] for part in parts if isinstance(part, MediaLink)}
        known = [str(each.get("id")) for each in self.media or []]
        return [*parts, *({"type": "file", "file": {"file_id": name}} for name in known if name not in linked)]


def media_link(modality: str, address: str) -> str:
    """A medium of a reply as Markdown: a picture is shown, the others are links."""
    return f"{'!' if modality == 'image' else ''}[{modality}]({address})"


def _linked(part: Any) -> Iterator[Any]:
    """A part of a reply's content: its words, and a part for each link to a medium among them."""
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        yield part
        return
    start = 0
    for link in _MEDIA_LINK.finditer(text):
        yield {"type": "text", "text": text[start : link.start()]}
        yield MediaLink(link.groupdict())
        start = link.end()
    yield {"type": "text", "text": text[start:]}


def check_size(parts: list[Any]) -> None:
    """ApiError 413 for more text in parts, or as texts alone, than is read."""
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    size = sum(len(text) for text in texts if isinstance(text, str))
    if size > MAX_TEXT:
        raise ApiError(413, f"the request holds {size:,} characters: at most {MAX_TEXT:,} are read", "too_large")


async def read_messages(messages: list[Message], service: Service, session: Session) -> list[dict[str, Any]]:
    """Messages for the engine. ApiError or MediaError, with a sentence, for what is refused.

    Of media that are linked to in replies the newest are read; the others are what the assistant once answered with.
    """
    content = [message.parts for message in messages]
    parts = [part for each in content for part in each]
    check_size(parts)
    links = [part for part in parts if isinstance(part, MediaLink)]
    count = sum(not isinstance(part, dict) or part.get("type") != "text" for part in parts) - len(links)
    if count > MAX_MEDIA:
        raise ApiError(400, f"the request holds {count} media: at most {MAX_MEDIA} are read", "too_many_media")
    old = links[: max(0, len(links) + count - MAX_MEDIA)]
    return [
        {
            "role": ROLES.get(message.role, message.role),
            "content": [
                {"type": part["modality"]}
                if any(part is each for each in old)
                else await read_part(part, service, session)
                for part in parts
            ],
        }
        for message, parts in zip(messages, content, strict=True)
    ]


async def read_part(part: Any, service: Service, session: Session) -> dict[str, Any]:
    """One content part: text, image_url and so on (:data:`ADDRESSED`), input_audio or file."""
    if isinstance(part, MediaLink):
        return await _from_link(part, service, session)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": _text(part.get("text"), "text")}
    value = part.get(kind) if isinstance(kind, str) else None
    if isinstance(kind, str) and kind in ADDRESSED:
        address = _text(value.get("url") if isinstance(value, dict) else value, kind)
        return await _from_address(address, kind, service, session, ADDRESSED[kind])
    if kind == "input_audio" and isinstance(value, dict):
        data = _text(value.get("data"), "input_audio.data")
        return await _from_base64(base64_of_url(data) or data, "input_audio", service, "audio")
    if kind == "file" and isinstance(value, dict):
        if value.get("file_id"):
            stored = session.find(_text(value["file_id"], "file.file_id"))
            return await service.read(stored.path, stored.filename)
        data = _text(value.get("file_data"), "file.file_data")
        return await _from_base64(base64_of_url(data) or data, "file", service, None)
    known = ", ".join(("text", *ADDRESSED, "input_audio", "file"))
    raise ApiError(400, f"a content part of type {repr_of(kind)} is not read: expected {known}", "invalid_content")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ApiError(400, f"{name} is {repr_of(value)}: expected a string", "invalid_content")
    return value


async def _from_address(
    address: str, name: str, service: Service, session: Session, expected: str | None
) -> dict[str, Any]:
    """A data URL, or a file of this session. Nothing is ever fetched."""
    if found := _FILE_ADDRESS.fullmatch(address):
        stored = service.sessions.find(session, found["id"] or found["name"], found["signature"])
        return await service.read(stored.path, stored.filename, expected)
    data = base64_of_url(address)
    if data is not None:
        return await _from_base64(data, name, service, expected)
    sentence = f"{name} is {repr_of(address)}, and addresses are not fetched: send data:TYPE;base64,... or a file's id"
    raise ApiError(400, sentence, "address_refused")


async def _from_link(link: MediaLink, service: Service, session: Session) -> dict[str, Any]:
    """A medium of an earlier reply; one that has expired is only known to have been there."""
    try:
        stored = service.sessions.find(session, link["id"], link["signature"])
        return await service.read(stored.path, stored.filename, link["modality"])
    except (ApiError, MediaError):
        return {"type": link["modality"]}


async def _from_base64(data: str, name: str, service: Service, expected: str | None) -> dict[str, Any]:
    try:
        content = await run_in_threadpool(from_base64, data, name)
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_base64") from None
    with tempfile.TemporaryDirectory(dir=service.sessions.folder) as folder:
        path = Path(folder) / "medium"  # without an extension: the content alone decides its type
        path.write_bytes(content)
        return await service.read(path, name, expected)
