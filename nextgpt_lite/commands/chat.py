"""``nextgpt-lite chat``: one message, a whole conversation file, or a talk in the terminal."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from data.media.loading import MediaError, Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from nextgpt_lite.checkpoint import CheckpointError
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.experts import ExpertError, Experts, load_experts

ERRORS = (MediaError, CheckpointError, ConversationError, ExpertError, OSError)
#: Saved videos are shown this many times as large and this often, so that a player shows more than a blink.
VIDEO_UPSCALE, VIDEO_REPEAT = 2, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("message", nargs="?", help="what to say; without it (and without files) a talk begins")
    parser.add_argument("--attach", action="append", default=[], type=Path, metavar="FILE", help="a medium to show")
    parser.add_argument(
        "--conversation", type=Path, metavar="FILE.json", help="earlier messages; paths beside the file"
    )
    parser.add_argument("--model", default="nano", help="nano, or a model folder")
    parser.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="where media are written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--expert", action="append", default=[], metavar="NAME=FOLDER", help="caption, ocr, detect or search"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    # Files are read before the model is: what is wrong with them should be said at once.
    messages = read_conversation(args.conversation) if args.conversation else []
    content = [media_part(load_medium(path)) for path in args.attach]
    if args.message is not None:
        content.append({"type": "text", "text": args.message})
    if content:
        messages.append({"role": "user", "content": content})
    if not messages and args.json:
        raise ConversationError("--json needs a message, an attached file or a conversation")

    experts = load_experts(args.expert) if args.expert else None
    model = load_model(args.model)
    if messages:
        answer(model, messages, args, experts)
    else:
        talk(model, args, experts)
    return 0


def load_model(name: str) -> Any:
    """An AnyToAny, loaded without the libraries' own progress bars: stderr is for our lines."""
    from transformers.utils import logging

    from nextgpt_lite.any_to_any import AnyToAny
    from nextgpt_lite.threads import set_num_threads

    logging.disable_progress_bar()
    return set_num_threads(AnyToAny.from_pretrained(name))


def answer(
    model: Any, messages: list[dict[str, Any]], args: argparse.Namespace, experts: Experts | None = None
) -> None:
    """Answer ``messages``, print and write the reply, and append it to them."""
    if args.json:
        reply = model.chat(messages, seed=args.seed, experts=experts)
    else:
        printer = Printer()
        told = {"on_text": printer.text, "on_progress": printer.progress}
        reply = model.chat(messages, seed=args.seed, experts=experts, **told)
        print()
    media = write_media(reply, args.out, sum(message["role"] == "assistant" for message in messages) + 1)
    if args.json:
        seconds = {name: round(value, 3) for name, value in reply.seconds.items()}
        print(json.dumps({"text": reply.text, "media": media, "seconds": seconds}, ensure_ascii=False))
    else:
        for medium in media:
            print(f"[{medium['modality']}] {medium['path']}")
        if reply.dropped_turns:
            print(f"(the {reply.dropped_turns} oldest messages no longer fit and were left out)", file=sys.stderr)
    messages.append(reply.as_message())


def talk(model: Any, args: argparse.Namespace, experts: Experts | None = None) -> None:
    """Read messages from the terminal until it ends; ``/attach FILE`` adds a medium to the next one."""
    print("Say something. /attach FILE adds a picture, video, sound or point cloud; Ctrl-D ends.")
    messages: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if line.startswith("/attach "):
            try:
                content.append(media_part(load_medium(line.removeprefix("/attach ").strip())))
            except MediaError as error:
                print(error, file=sys.stderr)
        elif line or content:
            content.append({"type": "text", "text": line})
            messages.append({"role": "user", "content": content})
            content = []
            answer(model, messages, args, experts)


def read_conversation(path: Path) -> list[dict[str, Any]]:
    """Messages of a JSON file, ``{"messages": [...]}`` or a list; media are loaded from paths beside the file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConversationError(f"no conversation at {path}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConversationError(f"{path} is not a readable JSON file: {error}") from error
    messages = values.get("messages") if isinstance(values, dict) else values
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise ConversationError(f"{path} holds no list of messages")
    return [_with_media(message, path.parent) for message in messages]


def media_part(medium: Medium) -> dict[str, Any]:
    """A loaded medium as a content part."""
    return {"type": medium.modality, "array": medium.array, "rate": medium.rate}


def write_media(reply: Any, folder: Path, turn: int) -> list[dict[str, Any]]:
    """Write a reply's media as reply-TURN-N-modality files; says where."""
    written = []
    for number, medium in enumerate(reply.media, 1):
        path = folder / f"reply-{turn}-{number}-{medium.modality}{MODALITIES[medium.modality].suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        scale = {"upscale": VIDEO_UPSCALE, "repeat": VIDEO_REPEAT} if medium.modality == "video" else {}
        save_medium(Medium(medium.modality, medium.array, medium.rate), path, **scale)
        written.append({"modality": medium.modality, "path": str(path), "signal_tokens": medium.signal_tokens})
    return written


class Printer:
    """Streams text to stdout and one progress line a medium to stderr."""

    def __init__(self) -> None:
        self.printed = ""

    def text(self, so_far: str) -> None:
        print(so_far.removeprefix(self.printed), end="", flush=True)
        self.printed = so_far

    def progress(self, modality: str, step: int, steps: int) -> None:
        end = "\n" if step == steps else ""
        print(f"\r{modality}: step {step} of {steps}", end=end, file=sys.stderr, flush=True)


def _with_media(message: dict[str, Any], folder: Path) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = []
    for part in content:
        if isinstance(part, dict) and "path" in part:
            path = (folder / str(part["path"])).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise ConversationError(f"{part['path']} leaves the folder of the conversation file")
            medium = load_medium(path)
            if medium.modality != part.get("type"):
                raise ConversationError(f"{part['path']} is of type {medium.modality}, not {part.get('type')!r}")
            part = media_part(medium)
        parts.append(part)
    return {**message, "content": parts}
