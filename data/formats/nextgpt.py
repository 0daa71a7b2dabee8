"""The four kinds of records that NExT-GPT is trained on (2309.05519, Sec. 5), as its published code reads them.

enc    ``{"input_image": "a.jpg", "conversations": [... "<image>\\nWhat is it?" ...]}``, video and audio alike
dec    ``{"output_image": "a.jpg", "image_captions": "...", "conversations": [... "Sure. <image>"]}``
T2M    turns with ``caption`` and ``output_modality``; the medium itself is not published, the caption is what is learnt
MosIT  ``{"image_list": [{"image_name", "caption"}], "video_list", "audio_list", "conversation": [...]}``, media on
       both sides

Caption embeddings that a record names are not read: ``nextgpt-lite embed`` makes those of the decoders in use.
"""

from typing import Any

from data.formats.conversations import MEDIA, PLACEHOLDER, conversation, medium, turns_of
from data.formats.sources import json_reader, text_of
from data.manifest import BadRecord, Record, shown


@json_reader
def encoding_records(entry: dict[str, Any]) -> Record:
    """Encoding-side alignment, and instructions on media: X + T -> T."""
    media = {m: [medium(m, entry[f"input_{m}"])] for m in MEDIA if entry.get(f"input_{m}")}
    return conversation(entry, turns_of(entry), media)


@json_reader
def decoding_records(entry: dict[str, Any]) -> Record:
    """Decoding-side alignment: T -> X."""
    media = {
        m: [medium(m, entry[f"output_{m}"], _caption(entry.get(f"{m}_captions"), f"{m}_captions"))]
        for m in MEDIA
        if entry.get(f"output_{m}")
    }
    if not media:
        raise BadRecord("expected output_image, output_video or output_audio")
    return conversation(entry, turns_of(entry), media)


@json_reader
def t2m_records(entry: dict[str, Any]) -> Record:
    """Text to text and media (T2M): media of the assistant that have a caption and no file."""
    turns, media = turns_of(entry), {m: [] for m in MEDIA}
    for turn in turns:
        modality = turn.get("output_modality", "text")
        if turn["role"] != "assistant" or modality == "text":
            continue
        if modality not in MEDIA:
            raise BadRecord(f"unknown output_modality {modality!r}; known are text, {', '.join(MEDIA)}")
        media[modality].append({"type": modality, "caption": _caption(turn.get("caption"), "caption")})
        if not PLACEHOLDER.search(turn["value"]):
            turn["value"] += f" <{modality}>"  # older files have no placeholder: the medium ends the reply
    return conversation(entry, turns, media)


@json_reader
def mosit_records(entry: dict[str, Any]) -> Record:
    """Modality-switching dialogues (MosIT): media of the user are kept as well as those of the assistant."""
    media = {modality: [_listed(item, modality) for item in _list(entry, modality)] for modality in MEDIA}
    turns = turns_of(entry, "conversation" if "conversation" in entry else "conversations")
    record = conversation(entry, turns, media)
    for message in record["messages"]:
        if message["role"] == "user":  # only media of the assistant have a caption to follow
            for part in message["content"]:
                part.pop("caption", None)
    return record


def _list(entry: dict[str, Any], modality: str) -> list[Any]:
    items = entry.get(f"{modality}_list", [])
    if not isinstance(items, list):
        raise BadRecord(f'"{modality}_list" must be a list, not {shown(items)}')
    return items


def _listed(item: Any, modality: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadRecord(f'an item of "{modality}_list" must be an object, not {shown(item)}')
    return medium(modality, item.get(f"{modality}_name"), text_of(item, "caption", empty=True))


def _caption(value: Any, key: str) -> str:
    """A caption, which some files have as a list of one."""
    return text_of({key: value[0] if isinstance(value, list) and len(value) == 1 else value}, key)
