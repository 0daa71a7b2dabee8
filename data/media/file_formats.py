"""The file formats that are read, in one table, and how a file's first bytes and its name say which one it is."""

import re
from pathlib import Path
from typing import NamedTuple

SNIFFED_BYTES = 4096


class FileFormat(NamedTuple):
    """One format: ``signature`` is a pattern of its first bytes, ``demuxer`` the name libav has for it.

    ``suffixes`` are the extensions by the modality that they promise. A container may hold another: ``.webm`` audio.
    """

    suffixes: dict[str, str]
    signature: bytes = b""
    demuxer: str = ""


_BOXES = rb".{4}(?:ftyp|moov|mdat|wide|free)"
_HEIF = rb"(?:heic|heix|mif1|avif)"
#: Every format by name. Formats without a signature are told apart by :func:`sniff` itself.
FORMATS = {
    "PNG": FileFormat({"image": ".png"}, rb"\x89PNG\r\n\x1a\n"),
    "JPEG": FileFormat({"image": ".jpg .jpeg"}, rb"\xff\xd8\xff"),
    "GIF": FileFormat({"image": ".gif"}, rb"GIF8[79]a", "gif"),
    "WebP": FileFormat({"image": ".webp"}, rb"RIFF.{4}WEBP"),
    "BMP": FileFormat({"image": ".bmp"}, rb"BM.{4}\0{4}"),
    "TIFF": FileFormat({"image": ".tif .tiff"}, rb"II\*\0|MM\0\*"),
    "WAV": FileFormat({"audio": ".wav"}, rb"RIFF.{4}WAVE", "wav"),
    "FLAC": FileFormat({"audio": ".flac"}, rb"fLaC", "flac"),
    "AIFF": FileFormat({"audio": ".aif .aiff"}, rb"FORM.{4}AIF[FC]", "aiff"),
    "Ogg": FileFormat({"audio": ".ogg .oga .opus", "video": ".ogv"}, rb"OggS", "ogg"),
    "MP3": FileFormat({"audio": ".mp3"}, rb"ID3", "mp3"),
    "AAC": FileFormat({"audio": ".aac"}, demuxer="aac"),
    "MP4": FileFormat({"video": ".mp4 .m4v .mov .3gp", "audio": ".m4a"}, _BOXES + b"(?!" + _HEIF + b")", "mov"),
    "Matroska": FileFormat({"video": ".webm .mkv", "audio": ".mka"}, rb"\x1aE\xdf\xa3", "matroska"),
    "AVI": FileFormat({"video": ".avi"}, rb"RIFF.{4}AVI ", "avi"),
    "NPY": FileFormat({"points": ".npy"}, rb"\x93NUMPY"),
    "PLY": FileFormat({"points": ".ply"}, rb"ply[\r\n]"),
    "text": FileFormat({"points": ".xyz .csv"}),
}
#: Format by extension.
EXTENSIONS = {
    suffix: name
    for name, entry in FORMATS.items()
    for suffixes in entry.suffixes.values()
    for suffix in suffixes.split()
}
#: Extensions of containers that may hold a video, where the name promises audio alone.
AUDIO_ONLY = (".m4a", ".mka", ".oga", ".opus")


class Refused(ValueError):
    """What is wrong with the file, to be read after its name: "is truncated"."""


def suffixes_of(modality: str) -> tuple[str, ...]:
    """The extensions that promise a modality."""
    return tuple(suffix for entry in FORMATS.values() for suffix in entry.suffixes.get(modality, "").split())


def sniff(head: bytes) -> str | None:
    """The format of a file by its first ``SNIFFED_BYTES``; "HEIF" and "text" are formats too, None is no known one."""
    if re.match(_BOXES + _HEIF, head, re.DOTALL):
        return "HEIF"
    for name, entry in FORMATS.items():
        if entry.signature and re.match(entry.signature, head, re.DOTALL):
            return name
    return _mpeg_audio(head) or ("text" if _is_text(head) else None)


def promised(path: Path) -> str | None:
    """The format that the extension promises, None without an extension. ValueError for one that is not read."""
    suffix = path.suffix.lower()
    if suffix and suffix not in EXTENSIONS:
        known = "a picture (.png .jpg .webp .gif), a sound (.wav .mp3 .m4a .ogg .flac), a video (.mp4 .webm .mov)"
        raise ValueError(f"{path.name}: {suffix} files are not read; give {known} or points (.npy .ply .xyz .csv)")
    return EXTENSIONS.get(suffix)


def _mpeg_audio(head: bytes) -> str | None:
    """MP3 or AAC by the sync word of their first frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = head[1] >> 1 & 0b11
    if layer == 0:
        return "AAC" if head[1] & 0xF0 == 0xF0 else None
    bitrate, sample_rate = head[2] >> 4, head[2] >> 2 & 0b11
    return "MP3" if bitrate not in (0, 15) and sample_rate != 3 else None


def _is_text(head: bytes) -> bool:
    """UTF-8 without control characters; a character cut at the end of ``head`` is allowed."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
