"""Replies, and the media of conversations as files: what users attach becomes content parts, replies become files."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data.media.decoding_pool import DecodingPool
from data.media.file_formats import EXTENSIONS
from data.media.loading import UPLOAD_LIMITS, Limits, MediaError, Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from data.text_files import parse_json
from nextgpt_lite.conversation import ConversationError

#: What is wrong with messages, their files or a model folder: each says it in one sentence.
CHAT_ERRORS = (ValueError, OSError)
#: The extensions of files that can be attached, and the most bytes that one file may have.
ACCEPTED, MAX_BYTES = tuple(EXTENSIONS), UPLOAD_LIMITS.bytes
#: Files that browsers show as they are; others are converted for them.
BROWSER_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".wav", ".mp3", ".flac", ".ogg", ".mp4", ".webm")
#: Written videos are enlarged and repeated this many times: small and short ones are hard to see in a player.
VIDEO_SCALE = {"upscale": 2, "repeat": 2}
#: Videos up to this many pixels on their long side are enlarged when they are converted for browsers.
SMALL_VIDEO = 256


@dataclass
class ReplyMedium:
    """A medium of a reply. ``array``: image (H, W, 3) uint8, video (F, H, W, 3) uint8, audio (N,) float32.

    ``position`` is how many characters of the reply's text stand before it; None = all.
    """

    modality: str
    array: np.ndarray
    rate: float | None
    signal_tokens: int
    seconds: float
    position: int | None = None


@dataclass
class Reply:
    """A model's answer. ``seconds`` has "text" and each modality generated; ``repaired`` counts added or removed signal
    tokens."""

    text: str
    media: list[ReplyMedium] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    repaired: int = 0
    dropped_turns: int = 0

    def as_message(self) -> dict[str, Any]:
        """The reply as the assistant's message of the next call: words and media in the order of the reply."""
        media = [media_part(Medium(each.modality, each.array, each.rate)) for each in self.media]
        return {"role": "assistant", "content": interleave(self.text, media, [each.position for each in self.media])}


class MediaRequest(NamedTuple):
    """A medium that a reply asks for: the decoder's condition (L, C), the words that go with it, its position."""

    modality: str
    condition: torch.Tensor
    words: str
    position: int


def interleave(text: str, media: Sequence[Any], positions: Sequence[int | None]) -> list[Any]:
    """Text parts and ``media`` in order: each after so many characters of ``text``, None = all."""
    parts, start = [], 0
    for medium, position in zip(media, positions, strict=True):
        end = len(text) if position is None else max(start, position)
        parts += [{"type": "text", "text": text[start:end]}, medium]
        start = end
    parts.append({"type": "text", "text": text[start:]})
    return [part for part in parts if part.get("text") != ""] or parts


def media_part(medium: Medium) -> dict[str, Any]:
    """A loaded medium as a content part."""
    return {"type": medium.modality, "array": medium.array, "rate": medium.rate}


def read_conversation(path: Path) -> list[dict[str, Any]]:
    """Messages of a JSON file, ``{"messages": [...]}`` or a list; media are loaded from paths beside the file."""
    try:
        values = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConversationError(f"no conversation at {path}") from error
    except (OSError, ValueError) as error:
        raise ConversationError(f"{path} is not a readable JSON file: {error}") from error
    messages = values.get("messages") if isinstance(values, dict) else values
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ConversationError(f"{path} holds no list of messages")
    return [
        {**message, "content": [_loaded(part, path.parent) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _loaded(part: Any, folder: Path) -> Any:
    if not isinstance(part, dict) or "path" not in part:
        return part
    try:
        path = (folder / str(part["path"])).resolve()
    except (OSError, ValueError) as error:
        raise ConversationError(f"{part['path']!r} is no path: {error}") from error
    if not path.is_relative_to(folder.resolve()):
        raise ConversationError(f"{part['path']} leaves the folder of the conversation file")
    medium = load_medium(path)
    if medium.modality != part.get("type"):
        raise ConversationError(f"{part['path']} is of type {medium.modality}, not {part.get('type')!r}")
    return media_part(medium)


def read_upload(path: Path) -> dict[str, Any]:
    """A user's file as a content part for the model. MediaError for a file that is refused."""
    return media_part(load_medium(path, UPLOAD_LIMITS))


def attach(path: Path, folder: Path, number: int) -> tuple[dict[str, Any], Path]:
    """A user's file -> (content part for the model, file for the browser). MediaError for a file that is refused.

    The file for the browser is the given one where browsers show it, else ``folder``/attached-``number``.
    """
    medium = load_medium(path, UPLOAD_LIMITS)
    if path.suffix.lower() in BROWSER_SUFFIXES:
        return media_part(medium), path
    entry, shown = MODALITIES[medium.modality], medium
    if not entry.shown_by_browsers:
        shown = Medium("image", entry.preview(medium.array))
    target = folder / f"attached-{number}{MODALITIES[shown.modality].suffix}"
    small = shown.modality == "video" and max(shown.array.shape[1:3]) <= SMALL_VIDEO
    return media_part(medium), save_medium(shown, target, **(VIDEO_SCALE if small else {}))


class UploadReader:
    """Reads untrusted uploads of many users: ``limits`` on each file, few decoding processes at once."""

    def __init__(self, limits: Limits = UPLOAD_LIMITS, processes: int = 2) -> None:
        self.limits = limits
        self._pool = DecodingPool(processes) if hasattr(os, "fork") else None

    def read(self, path: Path, name: str, wanted: str | None = None) -> dict[str, Any]:
        """The file at ``path`` as a content part. MediaError, which calls it ``name``, for a file that is refused.

        ``wanted`` is the modality that it must have.
        """
        try:
            medium = load_medium(path, self.limits, self._pool.decode if self._pool else None)
        except MediaError as error:
            raise MediaError(str(error).replace(str(path), name).replace(path.name, name)) from None
        if wanted and medium.modality != wanted:
            raise MediaError(f"{name} holds {medium.modality}, not {wanted}")
        return media_part(medium)

    def close(self) -> None:
        if self._pool:
            self._pool.close()


def upload_suffix(name: str) -> str:
    """The extension of a file's name, in lower case; empty without one. MediaError where no readable format has it."""
    suffix = Path(name).suffix.lower()
    if suffix and suffix not in EXTENSIONS:
        raise MediaError(f"{suffix} files are not read; known are {' '.join(sorted(EXTENSIONS))}")
    return suffix


def write_reply_medium(medium: ReplyMedium, path: Path) -> Path:
    """Write a medium of a reply so that browsers show it; ``path`` gets the modality's suffix. Returns where it is."""
    scale = VIDEO_SCALE if medium.modality == "video" else {}
    target = path.with_name(path.name + MODALITIES[medium.modality].suffix)
    return save_medium(Medium(medium.modality, medium.array, medium.rate), target, **scale)


def write_reply_media(reply: Reply, folder: Path, turn: int) -> list[dict[str, Any]]:
    """Write a reply's media as reply-TURN-N-MODALITY files; returns where, with their numbers of signal tokens."""
    written = []
    for number, medium in enumerate(reply.media, 1):
        folder.mkdir(parents=True, exist_ok=True)
        path = write_reply_medium(medium, folder / f"reply-{turn}-{number}-{medium.modality}")
        written.append({"modality": medium.modality, "path": str(path), "signal_tokens": medium.signal_tokens})
    return written


def reply_medium_bytes(medium: ReplyMedium) -> bytes:
    """A medium of a reply as the bytes of a file in its modality's format (``data.modalities``)."""
    with tempfile.TemporaryDirectory() as folder:
        return write_reply_medium(medium, Path(folder) / "medium").read_bytes()
