"""The file formats that are read, in one table, and how a file's content and its name say which one it is."""

import codecs
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data.text_files import encoding_of

SNIFFED_BYTES = 4096


class FileFormat(NamedTuple):
    """One format: ``signature`` is a pattern of its first bytes, ``demuxer`` the name libav has for it.

    ``suffixes`` are the extensions by the modality that they promise. A container may hold another: ``.webm`` audio.
    """

    suffixes: dict[str, str]
    signature: bytes = b""
    demuxer: str = ""


_BRANDS = rb".{4}ftyp(?:.{8}(?:.{4}){0,8}?)??"  # the main one, or one of those behind it
#: Every format by name, the first whose signature fits. Those without one are told apart by :func:`sniff` itself.
FORMATS = {
    "PNG": FileFormat({"image": ".png .apng"}, rb"\x89PNG\r\n\x1a\n"),
    "JPEG": FileFormat({"image": ".jpg .jpeg .jfif .jpe"}, rb"\xff\xd8\xff"),
    "GIF": FileFormat({"image": ".gif"}, rb"GIF8[79]a"),
    "WebP": FileFormat({"image": ".webp"}, rb"RIFF.{4}WEBP"),
    "BMP": FileFormat({"image": ".bmp"}, rb"BM.{4}\0{4}"),
    "TIFF": FileFormat({"image": ".tif .tiff"}, rb"II\*\0|MM\0\*"),
    "AVIF": FileFormat({"image": ".avif"}, _BRANDS + rb"avi[fs]"),
    "HEIF": FileFormat({"image": ".heic .heif .hif"}, _BRANDS + rb"(?:he[iv][cmsx]|m[is]f1)"),
    "WAV": FileFormat({"audio": ".wav .wave"}, rb"(?:RIFF|RF64|BW64).{4}WAVE", "wav"),
    "FLAC": FileFormat({"audio": ".flac"}, rb"fLaC", "flac"),
    "AIFF": FileFormat({"audio": ".aif .aiff .aifc"}, rb"FORM.{4}AIF[FC]", "aiff"),
    "Ogg": FileFormat({"audio": ".ogg .oga .opus", "video": ".ogv"}, rb"OggS", "ogg"),
    "MP3": FileFormat({"audio": ".mp3"}, rb"ID3", "mp3"),
    "AAC": FileFormat({"audio": ".aac"}, demuxer="aac"),
    "MP4": FileFormat({"video": ".mp4 .m4v .mov .3gp", "audio": ".m4a"}, rb".{4}(?:ftyp|moov|mdat|wide|free)", "mov"),
    "Matroska": FileFormat({"video": ".webm .mkv", "audio": ".mka"}, rb"\x1aE\xdf\xa3", "matroska"),
    "AVI": FileFormat({"video": ".avi"}, rb"RIFF.{4}AVI ", "avi"),
    "NPY": FileFormat({"points": ".npy"}, rb"\x93NUMPY"),
    "PLY": FileFormat({"points": ".ply"}, rb"ply[\r\n]"),
    "text": FileFormat({"points": ".xyz .csv"}),
}
#: ID3 tags that may stand in front of a sound.
_MAX_TAGS = 8
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


def format_of(file: BinaryIO) -> str | None:
    """The format of a file by its content, None where it is no known one; "text" is a format too."""
    tagged = end_of_tags(file) > 0
    found = sniff(file.read(SNIFFED_BYTES))
    if tagged and (found is None or "audio" not in FORMATS[found].suffixes):
        return "MP3"  # whose frames may follow after some padding
    return found


def sniff(head: bytes) -> str | None:
    """The format of a content by its first ``SNIFFED_BYTES``."""
    for name, entry in FORMATS.items():
        if entry.signature and re.match(entry.signature, head, re.DOTALL):
            return name
    text = _is_text(head)
    return "text" if text and head[:1] == b"\xff" else _mpeg_audio(head) or ("text" if text else None)


def end_of_tags(file: BinaryIO) -> int:
    """Where the content begins behind ID3 tags, which not only MP3 files carry; ``file`` stands there afterwards."""
    end = 0
    for _ in range(_MAX_TAGS):
        file.seek(end)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            break
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        end += 10 + size + (10 if head[5] & 0x10 else 0)
    file.seek(end)
    return end


def promised(path: Path) -> str | None:
    """The format that the extension promises, None without an extension. ValueError for one that is not read."""
    suffix = path.suffix.lower()
    if suffix and suffix not in EXTENSIONS:
        known = "a picture (.png .jpg .heic .webp .gif), a sound (.wav .mp3 .m4a .ogg .flac), a video (.mp4 .webm .mov)"
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
    """A text without control characters; a character cut at the end of ``head`` is allowed."""
    decoder = codecs.getincrementaldecoder(encoding_of(head))()
    try:
        text = decoder.decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
