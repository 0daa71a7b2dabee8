"""Files of a chat in a browser: what a user attaches becomes a content part and a file that the browser can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.media.file_formats import EXTENSIONS
from data.media.loading import UPLOAD_LIMITS, Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from nextgpt_lite.commands.chat import VIDEO_REPEAT, VIDEO_UPSCALE, media_part

if TYPE_CHECKING:
    from nextgpt_lite.any_to_any import ReplyMedium

#: The extensions of files that are taken in.
ACCEPTED = tuple(EXTENSIONS)
#: The most bytes that one file may have.
MAX_BYTES = UPLOAD_LIMITS.bytes
#: What browsers show as it is; anything else is written anew for them.
SHOWN_AS_THEY_ARE = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".wav", ".mp3", ".flac", ".ogg", ".mp4", ".webm")


def attach(path: Path, folder: Path, number: int) -> tuple[dict[str, Any], Path]:
    """A user's file -> (content part for the model, file for the browser). MediaError for a file that is not taken in.

    The file for the browser is the given one where browsers show it, else ``folder``/attached-``number``.
    """
    medium = load_medium(path, UPLOAD_LIMITS)
    if path.suffix.lower() in SHOWN_AS_THEY_ARE:
        return media_part(medium), path
    shown = medium
    if not MODALITIES[medium.modality].shown_by_browsers:
        shown = Medium("image", MODALITIES[medium.modality].preview(medium.array))
    target = folder / f"attached-{number}{MODALITIES[shown.modality].suffix}"
    scale = {"upscale": VIDEO_UPSCALE, "repeat": VIDEO_REPEAT} if shown.modality == "video" and _is_small(shown) else {}
    return media_part(medium), save_medium(shown, target, **scale)


def save_reply_medium(medium: ReplyMedium, path: Path) -> Path:
    """Write a medium of a reply so that browsers show it; ``path`` gets the suffix. Says where it is."""
    scale = {"upscale": VIDEO_UPSCALE, "repeat": VIDEO_REPEAT} if medium.modality == "video" else {}
    target = path.with_suffix(MODALITIES[medium.modality].suffix)
    return save_medium(Medium(medium.modality, medium.array, medium.rate), target, **scale)


def _is_small(film: Medium) -> bool:
    return max(film.array.shape[1:3]) <= 256
