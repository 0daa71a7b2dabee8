"""One visitor's conversation: what the model reads, what the page shows, and the files of both."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from demo.talker import Progress, Text
from nextgpt_lite import Reply
from nextgpt_lite.chat_command import write_media
from nextgpt_lite.chat_files import attach

MAKING = {"image": "drawing the picture", "video": "filming", "audio": "recording the sound"}
Bubble = dict[str, Any]


@dataclass
class Session:
    """A conversation. Its folder lies in the page server's cache, where the browser may read it, and goes with it."""

    messages: list[dict[str, Any]] = field(default_factory=list)  # as AnyToAny.chat takes them
    shown: list[Bubble] = field(default_factory=list)  # as gr.Chatbot takes them
    asked: dict[str, Any] | None = None  # the message that waits for its reply, as the text box gave it
    folder: Path | None = None
    files: int = 0
    cancelled: Event | None = None  # of the reply that is being made

    def ask(self, text: str, files: list[str]) -> None:
        """Take a user's message in. MediaError for a file that is not taken in: then nothing has changed."""
        attached = [attach(Path(file), self._folder(), self.files + number) for number, file in enumerate(files, 1)]
        self.files += len(files)
        parts = [part for part, _ in attached] + ([{"type": "text", "text": text}] if text else [])
        self.messages = [*self.messages, {"role": "user", "content": parts}]
        content = [file_bubble(path) for _, path in attached] + ([text] if text else [])
        self.shown = [*self.shown, {"role": "user", "content": content}]
        self.asked = {"text": text, "files": files}

    def take_back(self) -> dict[str, Any]:
        """Forget the message that has no reply; it is given back for the text box."""
        asked, self.asked = self.asked or {"text": "", "files": []}, None
        self.messages, self.shown = self.messages[:-1], self.shown[:-1]
        return asked

    def answer(self, reply: Reply) -> None:
        """Take the model's reply in and write its media."""
        turn = sum(message["role"] == "assistant" for message in self.messages) + 1
        files = [Path(medium["path"]) for medium in write_media(reply, self._folder(), turn)]
        self.messages = [*self.messages, reply.as_message()]
        self.shown = [*self.shown, {"role": "assistant", "content": [reply.text or "…", *map(file_bubble, files)]}]
        self.asked = None

    def clear(self) -> None:
        """Stop the reply that is being made, if there is one, and forget everything."""
        if self.cancelled:
            self.cancelled.set()
        self.messages, self.shown, self.asked, self.cancelled = [], [], None, None

    def close(self) -> None:
        """The visitor has gone: clear, and remove the files."""
        self.clear()
        if self.folder:
            shutil.rmtree(self.folder)
            self.folder = None

    def _folder(self) -> Path:
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=os.environ.get("GRADIO_TEMP_DIR")))
        return self.folder


class Growing:
    """The bubble of a reply that is being made: text, then a line for each medium."""

    def __init__(self, waiting: str) -> None:
        self.text, self.waiting = "", waiting
        self.lines: list[Progress] = []

    def take(self, event: Text | Progress) -> None:
        """A step that follows its forerunner moves the last line on; any other begins a line."""
        if isinstance(event, Text):
            self.text = event.so_far
            return
        last = self.lines[-1] if self.lines else None
        if last and last.modality == event.modality and last.step < event.step:
            self.lines.pop()
        self.lines.append(event)

    def bubble(self) -> Bubble:
        content = [self.text or self.waiting]
        content += [
            f'<span class="making">{MAKING[line.modality]}: step {line.step} of {line.steps}</span>'
            f'<progress value="{line.step}" max="{line.steps}"></progress>'
            for line in self.lines
        ]
        return {"role": "assistant", "content": content}


def file_bubble(path: Path) -> dict[str, str]:
    """A file as a part of a bubble."""
    return {"path": str(path), "alt_text": path.stem.replace("-", " ")}
