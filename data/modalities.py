"""The registry of media: what an image, a video, audio and a point cloud are, in one dict that every room asks.

A new medium is one entry in :data:`MODALITIES`, an encoder tower that reads it (:mod:`encoders`), and, where a reply
may hold it, a decoder (:mod:`decoders`). docs/how_to/add_a_medium.md goes through the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from data.media.file_formats import suffixes_of
from data.previews import audio_preview, image_preview, points_preview, video_preview

#: A point has at most so many numbers: its place, a colour, a normal, what a scanner measures.
MAX_COLUMNS = 16


@dataclass(frozen=True)
class Modality:
    """One kind of medium.

    Attributes:
        name: the ``type`` of content parts and the name of placeholders, signal tokens and decoders.
        shape: the axes of an array, for people to read.
        dtype: numpy's name of the array's type.
        suffix: the extension of the files that are written. NPY serves any array (``data.media.saving.save_medium``).
        suffixes: the extensions by which a file's name promises this medium.
        mime: the MIME type of a written file; browsers show image/*, video/* and audio/*.
        words: what the medium is called, by language ("en" and "zh").
        making: what is said while one is generated, by language.
        preview: an array -> an image of it, uint8 (H, W, 3).
        request: what a user says to have one made of another medium, in English; empty where no reply holds one.
        rate: frames or samples a second where nothing else is known; None for media without time.
        from_array: an array read from an NPY file -> the medium's array, or None if it is another medium's. Later
            entries are asked first, so a new medium should take only what is surely its own.
    """

    name: str
    shape: str
    dtype: str
    suffix: str
    suffixes: tuple[str, ...]
    mime: str
    words: dict[str, str]
    preview: Callable[[np.ndarray], np.ndarray]
    making: dict[str, str] = field(default_factory=dict)
    request: str = ""
    rate: float | None = None
    from_array: Callable[[np.ndarray], np.ndarray | None] | None = None

    @property
    def shown_by_browsers(self) -> bool:
        """Whether browsers show the written file; they get :attr:`preview` where not."""
        return self.mime.partition("/")[0] in ("image", "video", "audio")

    def is_making(self, language: str) -> str:
        """What is said while one is generated."""
        general = {"en": f"making the {self.words['en']}", "zh": f"正在制作{self.words['zh']}"}
        return (general | self.making)[language]


def _points_of(array: np.ndarray) -> np.ndarray | None:
    """(N, 3 or more) numbers -> float32 (N, 3); further columns (colours, normals) are left out.

    (3 or more, N), as convolutions have it, is turned round. What may be neither is no point cloud.
    """
    if array.ndim == 2 and array.shape[1] > MAX_COLUMNS and 3 <= array.shape[0] <= MAX_COLUMNS:
        array = array.T
    return array[:, :3].astype(np.float32) if array.ndim == 2 and 3 <= array.shape[1] <= MAX_COLUMNS else None


#: Every known medium by name. The order is that of the manifests' documentation and of untied sorting.
MODALITIES: dict[str, Modality] = {
    each.name: each
    for each in (
        Modality(
            "image", "(H, W, 3)", "uint8", ".png", suffixes_of("image"), "image/png",
            {"en": "picture", "zh": "图片"}, image_preview, {"en": "drawing the picture", "zh": "正在画图"},
            "draw this",
        ),
        Modality(
            "video", "(F, H, W, 3)", "uint8", ".mp4", suffixes_of("video"), "video/mp4",
            {"en": "video", "zh": "视频"}, video_preview, {"en": "filming", "zh": "正在拍视频"},
            "make a video of this", rate=4.0,
        ),
        Modality(
            "audio", "(N,), mono in [-1, 1]", "float32", ".wav", suffixes_of("audio"), "audio/wav",
            {"en": "sound", "zh": "声音"}, audio_preview, {"en": "recording the sound", "zh": "正在录声音"},
            "let me hear it", rate=16_000.0,
        ),
        Modality(
            "points", "(N, 3)", "float32", ".npy", suffixes_of("points"), "application/octet-stream",
            {"en": "points", "zh": "点云"}, points_preview, from_array=_points_of,
        ),
    )
}  # fmt: skip


def get_modality(name: str) -> Modality:
    """The entry of ``name``. ValueError, with the known names, for any other."""
    if name not in MODALITIES:
        raise ValueError(f"unknown modality {name!r}: expected one of {', '.join(MODALITIES)}")
    return MODALITIES[name]


def modality_of_name(name: str) -> str | None:
    """The modality that a file's name promises, None where it promises none."""
    suffix = "." + name.lower().rpartition(".")[2]
    return next((entry.name for entry in MODALITIES.values() if suffix in entry.suffixes), None)


def modality_of_array(array: np.ndarray) -> tuple[str, np.ndarray]:
    """An array from an NPY file -> (modality, that medium's array); ValueError where it is no medium's."""
    arrays = [entry for entry in reversed(MODALITIES.values()) if entry.from_array]
    for entry in arrays:
        assert entry.from_array
        converted = entry.from_array(array)
        if converted is not None:
            return entry.name, converted
    known = ", ".join(f"{entry.name} {entry.shape}" for entry in arrays)
    raise ValueError(f"an array of shape {array.shape} and type {array.dtype} is of no known medium: {known}")
