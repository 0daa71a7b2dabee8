"""Encoders: media and text into one space. :func:`load_encoder` loads what a folder says that it holds."""

from collections.abc import Callable
from pathlib import Path

from encoders.base import CONFIG_FILE, Encoder, read_config
from encoders.imagebind import ImageBind, ImageBindConfig, TowerConfig, load_imagebind
from encoders.media_encoder import MediaEncoder, MediaEncoderConfig
from encoders.points import PointConfig, PointEncoder, load_points


def _open_clip() -> type[Encoder]:
    from encoders.open_clip import OpenClipVision  # open_clip takes seconds to import, and only V2 needs it

    return OpenClipVision


def _trunk_encoder() -> type[Encoder]:
    from encoders.trunk_encoder import TrunkEncoder  # transformers' models, which other encoders do without

    return TrunkEncoder


def _transformers_vision() -> type[Encoder]:
    from encoders.transformers_vision import TransformersVision  # likewise

    return TransformersVision


#: The registry: ``class`` in an encoder's ``config.json`` -> what gives that class.
ENCODERS: dict[str, Callable[[], type[Encoder]]] = {
    "MediaEncoder": lambda: MediaEncoder,
    "OpenClipVision": _open_clip,
    "TrunkEncoder": _trunk_encoder,
    "TransformersVision": _transformers_vision,
}
#: A key by which the configuration of an encoder that was saved without ``class`` is recognised -> the class.
RECOGNISED = {"imagebind": "MediaEncoder", "quick_gelu": "OpenClipVision"}
#: ``model_type`` of the models of Transformers that are read as they are, by TransformersVision.
MODEL_TYPES = tuple(f"{name}{part}" for name in ("clip", "siglip", "siglip2") for part in ("", "_vision_model"))


def class_name(folder: str | Path) -> str:
    """The class of the encoder in ``folder``, a key of :data:`ENCODERS`. Raises ValueError for any other."""
    values = read_config(folder)
    name = values.get("class") or next((RECOGNISED[key] for key in RECOGNISED if key in values), None)
    if name is None and values.get("model_type") in MODEL_TYPES:
        name = "TransformersVision"
    if not isinstance(name, str) or name not in ENCODERS:
        path, found = Path(folder) / CONFIG_FILE, values.get("model_type")
        if name is None and found is not None:
            raise ValueError(f"{path}: model_type must be one of {', '.join(MODEL_TYPES)}, not {found!r}")
        raise ValueError(f"{path}: class must be one of {', '.join(ENCODERS)}, not {name!r}")
    return name


def load_encoder(folder: str | Path) -> Encoder:
    """The encoder in ``folder``, frozen and in evaluation mode. ValueError names what is missing or unknown."""
    return ENCODERS[class_name(folder)]().from_pretrained(folder).requires_grad_(False)
