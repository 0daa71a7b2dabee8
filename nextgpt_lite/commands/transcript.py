"""Real conversations with the embedded model, as Markdown with its media.

python -m nextgpt_lite.commands.transcript docs/conversation
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from data.media.loading import Medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from data.toybox import render, sample
from nextgpt_lite.any_to_any import AnyToAny, Reply

CONVERSATIONS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
SCENES = 90  #: stream of the scenes above
SCALE = 3  #: small images are shown this many times their size


def write_transcript(folder: Path, seed: int = 0) -> Path:
    """Run the conversations, write ``README.md`` and the media into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = AnyToAny.from_pretrained("nano")
    command = f"python -m nextgpt_lite.commands.transcript {folder.as_posix()}"
    lines = ["# Conversations with nano", "", f"Written by `{command}`.", ""]
    for letter, turns in zip("ab", CONVERSATIONS, strict=True):
        lines += _conversation(model, turns, folder, letter, seed)
    path = folder / "README.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _conversation(model: AnyToAny, turns: list, folder: Path, letter: str, seed: int) -> list[str]:
    """One conversation as Markdown, its media in files that begin with ``letter``."""
    lines: list[str] = []
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns, 1):
        content, shown = _content(turn, folder, f"{letter}{number}")
        messages.append({"role": "user", "content": content})
        reply = model.chat(messages, seed=seed)
        messages.append(reply.as_message())
        lines += [f"**User:** {shown}", "", f"**nano:** {reply.text}{_media(reply, folder, f'{letter}{number}')}", ""]
    return [*lines, "---", ""]


def _content(turn: list, folder: Path, number: str) -> tuple[list[dict[str, Any]], str]:
    content, shown = [], ""
    for part in turn:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
            shown += f" {part}"
        else:
            [(modality, index)] = part.items()
            array = render(sample(SCENES, index), modality)
            rate = MODALITIES[modality].rate
            content.append({"type": modality, "array": array, "rate": rate})
            shown += _written(modality, array, rate, folder, f"{number}-user")
    return content, shown.strip()


def _media(reply: Reply, folder: Path, number: str) -> str:
    named = ((medium, f"{number}-nano-{i}") for i, medium in enumerate(reply.media, 1))
    return "".join(_written(m.modality, m.array, m.rate, folder, name) for m, name in named)


def _written(modality: str, array: np.ndarray, rate: float | None, folder: Path, name: str) -> str:
    """Write a medium; its Markdown shows images and videos (frame by frame) and links audio."""
    if modality == "audio":
        path = save_medium(Medium("audio", array, rate), folder / f"{name}.wav")
        return f" [sound]({path.name})"
    strip = array if modality == "image" else np.concatenate(list(array), axis=1)
    scale = SCALE if modality == "image" and len(array) <= 64 else 1
    image = Image.fromarray(strip)
    path = folder / f"{name}.png"
    image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS).save(path)
    return f"\n\n![{modality}]({path.name})"


if __name__ == "__main__":
    print(write_transcript(Path(sys.argv[1])))
