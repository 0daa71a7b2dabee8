"""Media as addresses that hold the medium itself, and as the HTML that shows them: nothing else is fetched."""

from __future__ import annotations

import base64
import html
import io
import mimetypes
from pathlib import Path

import numpy as np
from PIL import Image

#: Browsers know these; the machine's own table may not.
TYPES = {".wav": "audio/wav", ".mp4": "video/mp4", ".webm": "video/webm", ".webp": "image/webp", ".flac": "audio/flac"}


def picture_address(array: np.ndarray, quality: int | None = None) -> str:
    """A picture (H, W, 3) uint8 as a PNG address, or as a JPEG one of the given ``quality``."""
    buffer, kind = io.BytesIO(), "png" if quality is None else "jpeg"
    Image.fromarray(array).save(buffer, format=kind, **({} if quality is None else {"quality": quality}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def file_address(path: Path) -> str:
    """A file as an address."""
    kind = TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def file_html(path: Path, alt: str = "") -> str:
    """The element that shows a media file, which it holds; a link for what no browser shows."""
    address, alt = file_address(path), html.escape(alt or path.stem)
    kind = address[len("data:") :].partition("/")[0]
    if kind == "image":
        return f'<img src="{address}" alt="{alt}">'
    if kind == "video":
        return f'<video src="{address}" controls loop muted autoplay playsinline aria-label="{alt}"></video>'
    if kind == "audio":
        return f'<audio src="{address}" controls aria-label="{alt}"></audio>'
    return f'<a href="{address}" download="{html.escape(path.name)}">{html.escape(path.name)}</a>'
