"""Tools of the Model Context Protocol, which are endpoints of gradio's clients as well.

Files come in as data URLs (``data:image/png;base64,...``) and are checked as every other upload.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from data.modalities import MODALITIES
from demo.data_urls import base64_of_url, from_base64
from demo.engine.model_pool import ModelPool
from demo.page.conversations import save_for_browser, secret_folder
from demo.texts import request_for, translate
from nextgpt_lite.conversation_media import CHAT_ERRORS, attach

#: The most files of one message.
MAX_FILES = 8


class McpTools:
    """Typed functions over a pool's first model: ``chat``, and ``make_image`` and so on for each medium it generates.

    Each call stands for itself: there is no conversation.
    """

    def __init__(self, pool: ModelPool) -> None:
        self.pool = pool
        # Videos come last in a reply, as they have since the first version.
        self.modalities = sorted(pool.output_modalities(), key=lambda name: _family(name) == "video")

    def publish(self) -> None:
        """Make them callable, in the page that is open. Their components are not shown."""
        with gr.Column(visible=False):
            text, files, seed = gr.Textbox(), _data_urls(), gr.Number(0, precision=0)
            reply, media, button = gr.Textbox(), [_output(name) for name in self.modalities], gr.Button()
        settings: dict[str, Any] = {"concurrency_limit": 8, "concurrency_id": "tool"}
        button.click(self.chat, [text, files, seed], [reply, *media], api_name="chat", **settings)
        for modality, output in zip(self.modalities, media, strict=True):
            function = self.maker(modality)
            button.click(function, [text, seed], output, api_name=function.__name__, **settings)

    def chat(self, message: str, files: list[str] | None = None, seed: int = 0) -> tuple[Any, ...]:
        """Send a message, with media if you like, and get text and media back.

        Args:
            message: What to say, in English or Chinese, e.g. "What is this?" or "Draw a red bell."
            files: Images, videos, sounds or point clouds, each as a data URL: "data:image/png;base64,...".
            seed: Seed of the noise that media are generated from.
        """
        with tempfile.TemporaryDirectory(prefix="tool-") as folder:
            content = [_part(address, Path(folder), number) for number, address in enumerate(_checked(files), 1)]
        if not content and not message.strip():
            raise _refused("give a message or a file")
        text, made = self._ask([*content, *([{"type": "text", "text": message}] if message.strip() else [])], seed)
        return text, *(made.get(modality) for modality in self.modalities)

    def maker(self, modality: str) -> Callable[..., str]:
        """The tool that generates a medium of ``modality`` from a prompt."""

        def make(prompt: str, seed: int = 0) -> str:
            if not prompt.strip():
                raise _refused("the prompt is empty: describe what to generate")
            content = [{"type": "text", "text": request_for(modality, prompt)}]
            return self._ask(content, seed, required_modality=modality, allowed_media={modality})[1][modality]

        make.__name__ = f"make_{modality}"
        make.__doc__ = f"""Generate a {translate("en", modality)} of what the prompt describes.

        Args:
            prompt: What it shows or sounds like, in English or Chinese, e.g. "a red bell" or "a green car moving left".
            seed: Seed of the noise that it is generated from.
        """
        return make

    def _ask(self, content: Sequence[dict[str, Any]], seed: int, **settings: Any) -> tuple[str, dict[str, str]]:
        """Text, and a file of each modality that the reply has."""
        try:
            job = self.pool.engine().submit([{"role": "user", "content": list(content)}], seed=int(seed), **settings)
            reply = job.result().reply
        except (ValueError, RuntimeError) as error:
            raise _refused(error) from error
        folder = secret_folder("tool")
        files = {each.modality: save_for_browser(each, folder / each.modality)[0] for each in reply.media}
        return reply.text, {modality: str(file) for modality, file in files.items()}


def _family(modality: str) -> str:
    return MODALITIES[modality].mime.partition("/")[0]


def _output(modality: str) -> Any:
    """A component for a medium of a reply."""
    components = {"image": lambda: gr.Image(format="png"), "audio": gr.Audio, "video": gr.Video}
    return components.get(_family(modality), gr.File)()


def _data_urls() -> Any:
    """A component for a list of data URLs. What gr.JSON says of its values is no schema that clients accept."""
    component: Any = gr.JSON()
    component.api_info = lambda: {"type": "array", "items": {"type": "string"}}
    return component


def _checked(files: Any) -> list[str]:
    files = files or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise _refused("files must be a list of data URLs")
    if len(files) > MAX_FILES:
        raise _refused(f"{len(files)} files: at most {MAX_FILES} are read at a time")
    return files


def _part(address: str, folder: Path, number: int) -> dict[str, Any]:
    """A data URL as a content part. Anything else is refused: nothing is fetched, no path is opened."""
    data = base64_of_url(address)
    if data is None:
        raise _refused(f"file {number} is no data URL: expected data:TYPE;base64,...")
    try:
        path = folder / f"file-{number}"
        path.write_bytes(from_base64(data, f"file {number}"))
        return attach(path, folder, number)[0]
    except CHAT_ERRORS as error:
        raise _refused(error) from error


def _refused(reason: object) -> gr.Error:
    return gr.Error(str(reason), print_exception=False)
