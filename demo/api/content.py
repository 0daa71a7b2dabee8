"""OpenAI's messages -> messages as the model takes them."""

import re
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data.modalities import MODALITIES
from demo.api.errors import ApiError
from demo.api.service import Service
from demo.api.sessions import Session
from demo.data_urls import base64_of_url, from_base64

#: The most media in one request.
MAX_MEDIA = 16
#: Kinds of content parts that hold an address, and the modality that each must have.
ADDRESSED = {f"{name}_url": name for name in MODALITIES}
#: Roles that clients use, and ours.
ROLES = {"developer": "system"}
_FILE_ADDRESS = re.compile(r"^(?:/v1/files/)?(file-[\w-]+)(?:/content)?$")


class Message(BaseModel):
    """One of OpenAI's messages. ``media`` are those of an earlier reply that is sent back."""

    role: str
    content: Any = None
    media: list[dict[str, Any]] | None = None

    @property
    def parts(self) -> list[Any]:
        """The parts of the content, then the media. ApiError for content of another type."""
        parts = [{"type": "text", "text": self.content}] if isinstance(self.content, str) else self.content or []
        if not isinstance(parts, list):
            raise ApiError(400, "content must be a string or a list of parts")
        return [*parts, *({"type": "file", "file": {"file_id": each.get("id")}} for each in self.media or [])]


async def read_messages(messages: list[Message], service: Service, session: Session) -> list[dict[str, Any]]:
    """Messages for the engine. ApiError or MediaError, with a sentence, for what is refused."""
    parts = [part for message in messages for part in message.parts]
    count = sum(not isinstance(part, dict) or part.get("type") != "text" for part in parts)
    if count > MAX_MEDIA:
        raise ApiError(400, f"the request holds {count} media: at most {MAX_MEDIA} are read", "too_many_media")
    return [
        {
            "role": ROLES.get(message.role, message.role),
            "content": [await read_part(part, service, session) for part in message.parts],
        }
        for message in messages
    ]


async def read_part(part: Any, service: Service, session: Session) -> dict[str, Any]:
    """One content part: text, image_url and so on (:data:`ADDRESSED`), input_audio or file."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": part.get("text")}
    value = part.get(kind) if isinstance(kind, str) else None
    if kind in ADDRESSED:
        address = value.get("url") if isinstance(value, dict) else value
        return await _from_address(str(address), str(kind), service, session, ADDRESSED[kind])
    if kind == "input_audio" and isinstance(value, dict):
        return await _from_base64(str(value.get("data")), "input_audio", service, "audio")
    if kind == "file" and isinstance(value, dict):
        if value.get("file_id"):
            return await _from_file(str(value["file_id"]), service, session, None)
        return await _from_address(str(value.get("file_data")), "file", service, session, None)
    known = ", ".join(("text", *ADDRESSED, "input_audio", "file"))
    raise ApiError(400, f"a content part of type {kind!r} is not read: expected {known}", "invalid_content")


async def _from_address(
    address: str, name: str, service: Service, session: Session, expected: str | None
) -> dict[str, Any]:
    """A data URL, or a file of this session. Nothing is ever fetched."""
    if found := _FILE_ADDRESS.match(address):
        return await _from_file(found[1], service, session, expected)
    data = base64_of_url(address)
    if data is not None:
        return await _from_base64(data, name, service, expected)
    shown = address if len(address) <= 80 else address[:77] + "..."
    raise ApiError(
        400, f"{name} is {shown!r}, and addresses are not fetched: send data:TYPE;base64,... or a file's id",
        "address_refused",
    )  # fmt: skip


async def _from_file(name: str, service: Service, session: Session, expected: str | None) -> dict[str, Any]:
    stored = session.find(name)
    return await service.read(stored.path, stored.filename, expected)


async def _from_base64(data: str, name: str, service: Service, expected: str | None) -> dict[str, Any]:
    try:
        content = from_base64(data, name)
    except ValueError as error:
        raise ApiError(400, str(error), "invalid_base64") from None
    with tempfile.TemporaryDirectory(dir=service.sessions.folder) as folder:
        path = Path(folder) / "medium"  # without an extension: the content alone decides its type
        path.write_bytes(content)
        return await service.read(path, name, expected)
