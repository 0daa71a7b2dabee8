"""The processor: conversations to ids and media, replies to words and media."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature, ProcessorMixin
from transformers.utils import PROCESSOR_NAME

from data.atomic import write_json
from data.media.loading import load_medium
from data.modalities import MODALITIES
from nextgpt_lite import checkpoint
from nextgpt_lite.chat_template import ConversationError
from nextgpt_lite.conversation import encode
from nextgpt_lite.conversation_media import media_part
from nextgpt_lite.core_checkpoint import read_core_config
from nextgpt_lite.hub.modeling import PROCESSOR, TEXT, find_folder

#: Where Transformers' messages have a medium: a path, an image of PIL, or an array.
PLACES = ("array", "path", "url", *MODALITIES)


class AnyToAnyProcessor(ProcessorMixin):
    """The tokenizer of a model folder, with placeholders and signal tokens, and its chat template.

    Media are loaded, not embedded: the encoder is the model's.
    """

    def __init__(self, tokenizer: Any, table: Any) -> None:
        self.tokenizer, self.table = tokenizer, table
        self.chat_template = tokenizer.chat_template

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["tokenizer"]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *_: Any, **options: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of a model folder, "nano", or a model of the hub."""
        folder = find_folder(str(pretrained_model_name_or_path), options)
        manifest = checkpoint.read_manifest(folder)
        config = read_core_config(checkpoint.component(folder, manifest, "core"))
        tokenizer = checkpoint.load_tokenizer(checkpoint.component(folder, manifest, "tokenizer"), config)
        return cls(tokenizer, config.table)

    def save_pretrained(self, save_directory: Any, *_: Any, **__: Any) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Note the class in the folder; the tokenizer is a component, which the model's ``save_pretrained`` writes."""
        path = Path(save_directory) / PROCESSOR_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"processor_class": PROCESSOR})
        return [str(path)]

    def apply_chat_template(self, conversation: Any, add_generation_prompt: bool = True, **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A conversation, or a list of them, -> ``input_ids`` and ``attention_mask`` (B, T), and ``media``, the parts
        of each row. With ``tokenize=False`` the text.

        Messages are Transformers': content is text or parts ``{"type": "image", "path" | "url" | "image": ...}``, the
        value a local file, an image of PIL or an array. ConversationError or MediaError for what cannot be read.
        """
        several = isinstance(conversation, (list, tuple)) and bool(conversation)
        rows = conversation if several and isinstance(conversation[0], (list, tuple)) else [conversation]
        for messages in rows:
            if not isinstance(messages, (list, tuple)) or not all(isinstance(each, dict) for each in messages):
                raise ConversationError(f"a conversation is a list of messages, each a dict, not {messages!r:.60}")
        loaded = [[_loaded(message) for message in messages] for messages in rows]
        encoded = [encode(messages, self.tokenizer, self.table, reply=add_generation_prompt) for messages in loaded]
        if not options.get("tokenize", True):
            texts = [self.tokenizer.decode(ids) for ids, *_ in encoded]
            return texts if rows is conversation else texts[0]
        return _batch([ids for ids, *_ in encoded], [media for *_, media in encoded], self.tokenizer.pad_token_id or 0)

    def __call__(self, text: Any = None, images: Any = None, videos: Any = None, audio: Any = None, **_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Texts, each of one message, with media before them: a shorter form of :meth:`apply_chat_template`."""
        texts = [text] if isinstance(text, str) or text is None else list(text)
        given = {"image": images, "video": videos, "audio": audio}
        conversations = []
        for number, words in enumerate(texts):
            parts = [
                {"type": kind, kind: each}
                for kind, value in given.items()
                for each in _of_row(kind, value, number, len(texts))
            ]
            conversations.append([{"role": "user", "content": [*parts, {"type": "text", "text": words or ""}]}])
        return self.apply_chat_template(conversations)

    def post_process_multimodal_output(
        self, generated_outputs: Any, skip_special_tokens: bool = True, generation_mode: str | None = None, **_: Any
    ) -> list[Any]:
        """Ids (B, T) as words; images of each reply as images of PIL, other media as arrays."""
        if generation_mode in (None, TEXT):
            return self.tokenizer.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens)
        if generation_mode == "image":
            return [[Image.fromarray(array) for array in reply] for reply in generated_outputs]
        return list(generated_outputs)


def _loaded(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message  # text, or what no message holds: who encodes it says so
    return {**message, "content": [_part(part) for part in content]}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part as this project has them, with an array."""
    if not isinstance(part, dict) or part.get("type") not in MODALITIES:
        return part
    value = next((part[place] for place in PLACES if part.get(place) is not None), None)
    if value is None:
        raise ConversationError(f"a part of type {part['type']!r} holds no medium: expected {', '.join(PLACES)}")
    if isinstance(value, (str, Path)):
        return media_part(load_medium(str(value).removeprefix("file://")))
    array = np.asarray(value.convert("RGB") if isinstance(value, Image.Image) else value)
    return {"type": part["type"], "array": array, "rate": part.get("rate", MODALITIES[part["type"]].rate)}


def _of_row(kind: str, value: Any, number: int, rows: int) -> list[Any]:
    """The media of one text: of several texts, a list has what belongs to each. ConversationError where it cannot."""
    if rows > 1 and isinstance(value, (list, tuple)):
        if len(value) != rows:
            raise ConversationError(f"{rows} texts with a list of {len(value)} for their {kind}: expected one for each")
        value = value[number]
    return _media(kind, value)


def _media(kind: str, value: Any) -> list[Any]:
    """A medium, or those in a list; a list of a video's frames or of a sound's numbers is one."""
    if not isinstance(value, (list, tuple)):
        return [] if value is None else [value]
    first = value[0] if value else None
    frames = kind == "video" and (isinstance(first, Image.Image) or getattr(first, "ndim", 0) == 3)
    return (
        [value] if frames or isinstance(first, (int, float)) else [one for each in value for one in _media(kind, each)]
    )


def _batch(rows: Sequence[list[int]], media: list[list[dict[str, Any]]], padding: int) -> BatchFeature:
    """Ids padded on the left, where generation goes on."""
    longest = max(map(len, rows))
    ids = torch.tensor([[padding] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return BatchFeature({"input_ids": ids, "attention_mask": mask, "media": media})
