"""Which format a file's first bytes tell, and which its name promises."""

from __future__ import annotations

from pathlib import Path

#: Format by extension. Containers that hold sound, pictures or both have one name, whatever is inside.
EXTENSIONS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".gif": "GIF",
    ".webp": "WebP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".wav": "WAV",
    ".flac": "FLAC",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".ogg": "Ogg",
    ".oga": "Ogg",
    ".opus": "Ogg",
    ".ogv": "Ogg",
    ".mp3": "MP3",
    ".aac": "AAC",
    ".m4a": "MP4",
    ".mp4": "MP4",
    ".m4v": "MP4",
    ".mov": "MP4",
    ".3gp": "MP4",
    ".webm": "Matroska",
    ".mkv": "Matroska",
    ".mka": "Matroska",
    ".avi": "AVI",
    ".npy": "NPY",
    ".ply": "PLY",
    ".xyz": "text",
    ".csv": "text",
}
SNIFFED_BYTES = 4096


class Refused(ValueError):
    """What is wrong with the file, to be read after its name: "is truncated"."""


_PREFIXES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"fLaC", "FLAC"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
    (b"\x1aE\xdf\xa3", "Matroska"),
    (b"\x93NUMPY", "NPY"),
    (b"ply\n", "PLY"),
    (b"ply\r", "PLY"),
)
_RIFF = {b"WAVE": "WAV", b"AVI ": "AVI", b"WEBP": "WebP"}
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free")


def sniff(head: bytes) -> str | None:
    """The format that the first ``SNIFFED_BYTES`` of a file tell; ``"text"`` for text, None for anything else."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM":
        return "AIFF" if head[8:12] in (b"AIFF", b"AIFC") else None
    if head[4:8] in _MP4_BOXES:
        return "HEIF" if head[8:12] in _STILL_BRANDS else "MP4"
    for prefix, name in _PREFIXES:
        if head.startswith(prefix) and (name != "BMP" or head[6:10] == b"\0\0\0\0"):
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
    """UTF-8 without control characters; a character cut at the end of ``head`` is forgiven."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
