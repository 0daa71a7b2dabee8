"""What each published format is given, made once a module; ImageBind at tiny size."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from encoders import ImageBindConfig, MediaEncoderConfig
from tests.nextgpt_lite.released_weights.published import Given
from tests.nextgpt_lite.released_weights.published_nextgpt import FORMATS
from tests.tiny_model import tiny_encoder


@pytest.fixture(scope="module")
def makers(tmp_path_factory) -> Callable[[str], Given]:
    made: dict[str, Given] = {}

    def make(name: str) -> Given:
        if name not in made:
            made[name] = FORMATS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return make


@pytest.fixture
def tiny_huge(monkeypatch):
    """ImageBind's released sizes are those of a tiny encoder."""
    config = tiny_encoder().config
    monkeypatch.setattr(MediaEncoderConfig, "huge", lambda points=None: config if points else replace(config, media={}))
    monkeypatch.setattr(ImageBindConfig, "huge", lambda: config.imagebind)
    monkeypatch.setattr("encoders.media_encoder.ClipTokenizer", lambda: tiny_encoder().tokenizer)
    monkeypatch.setattr("encoders.points.PointConfig", lambda: config.points)
    monkeypatch.setattr("encoders.media_encoder.PointConfig", lambda: config.points)
