"""``nextgpt-lite chat``: answers one message, a conversation file, or messages typed in the terminal."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.media.loading import MediaError, load_medium
from nextgpt_lite.conversation import ConversationError
from nextgpt_lite.conversation_media import media_part, read_conversation, write_reply_media

if TYPE_CHECKING:
    from nextgpt_lite import AnyToAny
    from nextgpt_lite.experts import Experts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "message", nargs="?", help="the user's message; without it (and without files) starts an interactive chat"
    )
    parser.add_argument(
        "--attach",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="image, audio, video or point-cloud file",
    )
    parser.add_argument(
        "--conversation", type=Path, metavar="FILE.json", help="earlier messages; paths beside the file"
    )
    parser.add_argument("--model", help="small, nano or a model folder (default: small where its parts are, else nano)")
    parser.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="where media are written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--expert", action="append", default=[], metavar="NAME=FOLDER", help="caption, ocr, detect, hear or search"
    )
    add_weights(parser)
    add_precision(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The option that chat, the page and the API have in common."""
    parser.add_argument(
        "--weights",
        choices=("exact", "int8"),
        default="exact",
        help="int8 rounds the language model's weights: quicker text on a CPU from 100 M parameters or so",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """How large models are held: weights in fewer bytes, decoders in main memory."""
    precisions = ("float32", "bfloat16", "float16", "int8", "int4")
    help = "of the weights; int8 and int4 hold the language model in 8 or 4 bits, all else in bfloat16 (bitsandbytes)"
    parser.add_argument("--precision", choices=precisions, default="float32", help=help)
    parser.add_argument("--offload", action="store_true", help="keep decoders in main memory while they do not decode")


def run(args: argparse.Namespace) -> int:
    # Files are read before the model is loaded, so that an error in them is reported at once.
    messages = read_conversation(args.conversation) if args.conversation else []
    content = [media_part(load_medium(path)) for path in args.attach]
    if args.message is not None:
        content.append({"type": "text", "text": args.message})
    if content:
        messages.append({"role": "user", "content": content})
    if not messages and args.json:
        raise ConversationError("--json needs a message, an attached file or a conversation")

    experts = None
    if args.expert:
        from nextgpt_lite.experts import load_experts

        experts = load_experts(args.expert)
    model = load_model(args.model, args.weights, args.precision, args.offload)
    if messages:
        answer(model, messages, args, experts)
    else:
        chat_in_terminal(model, args, experts)
    return 0


def load_model(
    name: str | None, weights: str = "exact", precision: str = "float32", offload: bool = False
) -> "AnyToAny":
    """The model, or the default one, loaded without the libraries' progress bars: stderr is for our lines."""
    from transformers.utils import logging

    from nextgpt_lite.any_to_any import AnyToAny, set_num_threads
    from nextgpt_lite.checkpoint import default_model

    logging.disable_progress_bar()
    settings: dict[str, Any] = {"weights": weights, "precision": precision, "offload": offload}
    return set_num_threads(AnyToAny.from_pretrained(name or default_model(), quick=True, **settings))


def answer(
    model: "AnyToAny", messages: list[dict[str, Any]], args: argparse.Namespace, experts: "Experts | None" = None
) -> None:
    """Answer ``messages``, print and write the reply, and append it to them."""
    if args.json:
        reply = model.chat(messages, seed=args.seed, experts=experts)
    else:
        printer = Printer()
        reply = model.chat(
            messages, seed=args.seed, experts=experts, on_text=printer.text, on_progress=printer.progress
        )
        print()
    media = write_reply_media(reply, args.out, sum(message["role"] == "assistant" for message in messages) + 1)
    if args.json:
        seconds = {name: round(value, 3) for name, value in reply.seconds.items()}
        print(json.dumps({"text": reply.text, "media": media, "seconds": seconds}, ensure_ascii=False))
    else:
        for medium in media:
            print(f"[{medium['modality']}] {medium['path']}")
        if reply.dropped_turns:
            print(f"(the {reply.dropped_turns} oldest messages no longer fit and were left out)", file=sys.stderr)
    messages.append(reply.as_message())


def chat_in_terminal(model: "AnyToAny", args: argparse.Namespace, experts: "Experts | None" = None) -> None:
    """Read messages from the terminal until it ends; ``/attach FILE`` adds a medium to the next one."""
    print("Type a message. /attach FILE adds an image, audio, video or point-cloud file; Ctrl-D ends.")
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
