"""What other programs may call: tools of the Model Context Protocol, and the same as endpoints of gradio's clients.

Files come in as data addresses (``data:image/png;base64,...``) and go through the door of every other file.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from demo.engine.model_pool import Shelf
from demo.page.conversations import secret_folder
from nextgpt_lite.chat_files import MAX_BYTES, attach, save_reply_medium
from nextgpt_lite.commands.chat import ERRORS

Files = tuple[str | None, str | None, str | None]
#: The files that one message may bring.
MOST_FILES = 8


class Tools:
    """Typed functions over a shelf's first model. Each call stands for itself: there is no conversation."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def publish(self) -> None:
        """Make them callable, in the page that is open. Their components are not shown."""
        with gr.Column(visible=False):
            text, files, seed = gr.Textbox(), _addresses(), gr.Number(0, precision=0)
            said, picture, sound = gr.Textbox(), gr.Image(format="png"), gr.Audio()
            film, button = gr.Video(), gr.Button()
        settings: dict[str, Any] = {"concurrency_limit": 8, "concurrency_id": "tool"}
        button.click(self.chat, [text, files, seed], [said, picture, sound, film], api_name="chat", **settings)
        for function, made in ((self.make_image, picture), (self.make_audio, sound), (self.make_video, film)):
            button.click(function, [text, seed], made, api_name=function.__name__, **settings)

    def chat(self, message: str, files: list[str] | None = None, seed: int = 0) -> tuple[Any, ...]:
        """Say something to the model, with media if you like, and get text and media back.

        Args:
            message: What to say, in English or Chinese, e.g. "What is this?" or "Draw a red bell."
            files: Pictures, videos, sounds or point clouds, each as a data address: "data:image/png;base64,...".
            seed: Seed of the noise that media are made from.
        """
        with tempfile.TemporaryDirectory(prefix="tool-") as folder:
            content = [_part(address, Path(folder), number) for number, address in enumerate(_checked(files), 1)]
        if not content and not message.strip():
            raise _refused("say something, or give a file")
        text, made = self._ask([*content, *([{"type": "text", "text": message}] if message.strip() else [])], seed)
        return text, made.get("image"), made.get("audio"), made.get("video")

    def make_image(self, prompt: str, seed: int = 0) -> Any:
        """Draw a picture of what the prompt says.

        Args:
            prompt: What to draw, e.g. "a small red bell in the snow".
            seed: Seed of the noise that the picture is made from.
        """
        return self._make("image", prompt, seed)

    def make_audio(self, prompt: str, seed: int = 0) -> Any:
        """Make the sound of what the prompt says.

        Args:
            prompt: What should be heard, e.g. "a dog".
            seed: Seed of the noise that the sound is made from.
        """
        return self._make("audio", prompt, seed)

    def make_video(self, prompt: str, seed: int = 0) -> Any:
        """Film what the prompt says: two seconds without sound.

        Args:
            prompt: What to film, e.g. "a green car moving left".
            seed: Seed of the noise that the film is made from.
        """
        return self._make("video", prompt, seed)

    def _make(self, modality: str, prompt: str, seed: int) -> str:
        request = {"image": "Draw {}", "audio": "Let me hear {}", "video": "Make a video of {}"}[modality]
        if not prompt.strip():
            raise _refused("the prompt is empty: say what to make")
        content = [{"type": "text", "text": request.format(prompt.strip())}]
        _, made = self._ask(content, seed, demanded=modality, allowed_media={modality})
        return made[modality]

    def _ask(self, content: Sequence[dict[str, Any]], seed: int, **settings: Any) -> tuple[str, dict[str, str]]:
        """Text, and a file of each modality that the reply has."""
        try:
            job = self.shelf.engine().submit([{"role": "user", "content": list(content)}], seed=int(seed), **settings)
            reply = job.result().reply
        except (ValueError, RuntimeError) as error:
            raise _refused(error) from error
        folder = secret_folder("tool")
        made = {medium.modality: str(save_reply_medium(medium, folder / medium.modality)) for medium in reply.media}
        return reply.text, made


def _addresses() -> Any:
    """A component for a list of data addresses. What gr.JSON says of its values is no schema that clients accept."""
    component: Any = gr.JSON()
    component.api_info = lambda: {"type": "array", "items": {"type": "string"}}
    return component


def _checked(files: Any) -> list[str]:
    files = files or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise _refused("files must be a list of data addresses")
    if len(files) > MOST_FILES:
        raise _refused(f"{len(files)} files: at most {MOST_FILES} are taken at a time")
    return files


def _part(address: str, folder: Path, number: int) -> dict[str, Any]:
    """A data address as a content part. What is no data address is refused: nothing is fetched, no path is opened."""
    head, comma, body = address.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise _refused(f"file {number} is no data address: expected data:TYPE;base64,...")
    if len(body) * 3 // 4 > MAX_BYTES:
        raise _refused(f"file {number} is larger than {MAX_BYTES} bytes")
    try:
        (folder / f"file-{number}").write_bytes(base64.b64decode(body, validate=True))
        return attach(folder / f"file-{number}", folder, number)[0]
    except binascii.Error as error:
        raise _refused(f"file {number} is not in base64: {error}") from error
    except ERRORS as error:
        raise _refused(error) from error


def _refused(reason: object) -> gr.Error:
    return gr.Error(str(reason), print_exception=False)
