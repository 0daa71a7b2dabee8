"""Media as data URLs (``data:image/png;base64,...``): for pages that fetch nothing, and from clients."""

import base64
import binascii
import io
import mimetypes
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image

from data.modalities import MODALITIES, modality_of_name

#: Letters of base64 in URLs and file names, in place of which base64 itself has others.
_FROM_URLS = str.maketrans("-_", "+/")


def image_url(array: np.ndarray, quality: int | None = None) -> str:
    """An image (H, W, 3) uint8 as the data URL of a PNG, or of a JPEG of the given ``quality``."""
    buffer, kind = io.BytesIO(), "png" if quality is None else "jpeg"
    Image.fromarray(array).save(buffer, format=kind, **({} if quality is None else {"quality": quality}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def file_url(path: Path) -> str:
    """A file as a data URL."""
    return f"data:{mime_type(path)};base64,{base64.b64encode(path.read_bytes()).decode()}"


def mime_type(path: Path) -> str:
    """The MIME type of a media file by its name: the registry's for what is written here."""
    known = MODALITIES.get(modality_of_name(path.name) or "")
    if known and path.suffix.lower() == known.suffix:
        return known.mime
    return mimetypes.guess_type(path.name)[0] or (known.mime if known else "application/octet-stream")


def base64_of_url(address: str) -> str | None:
    """What a data URL holds, still in base64; None for any other address."""
    head, comma, data = address.partition(",")
    head = head.strip().lower()
    return data if head.startswith("data:") and head.endswith(";base64") and comma else None


def from_base64(data: str, name: str) -> bytes:
    """Decoded base64, as programs write it: with line breaks or without, padded or not, for URLs too.

    ValueError, which names the value ``name``, for anything else.
    """
    letters = "".join((unquote(data) if "%" in data else data).split()).rstrip("=").translate(_FROM_URLS)
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{name} is not base64: {error}") from None
