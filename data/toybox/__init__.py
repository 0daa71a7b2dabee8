"""Toybox: a small generated world of images, videos, sounds and point clouds in which every answer can be checked.

This module is the world's whole interface; nothing outside imports what lies below it.

* scenes: :func:`sample` gives the :class:`Scene` that is the ground truth, :func:`visible` what a medium shows of it;
* media: :func:`render` and :func:`thing_mask`, and :func:`out_of_distribution_medium` for what the world does not hold;
  :func:`sounding` is a thing heard once;
* words: :func:`phrase` and :func:`tag_caption` make them, :func:`parse_reply` and :func:`parse_tags` read them back;
* conversations: :func:`dialogue` is the stream of them, :func:`render_medium` makes their media;
* datasets: :func:`write_toybox` writes media files and a manifest, as any other dataset has them;
* vocabularies: :data:`VALUES`, :data:`CARRIES`, :data:`TAG_WORDS`; :data:`HELD_OUT_PAIRS` never occur in training.
"""

from data.toybox.audio.render import sounding
from data.toybox.dialogues.speaker import Dialogue, MediaPart
from data.toybox.dialogues.stream import KINDS, dialogue, mismatched_media, text_only, vocabulary_corpus
from data.toybox.drawing.render import thing_mask
from data.toybox.language.grammar import TAG_WORDS, attribute_words, parse_reply, parse_tags, phrase, tag_caption
from data.toybox.records import write_toybox
from data.toybox.rendering import out_of_distribution_kind, out_of_distribution_medium, render, render_medium
from data.toybox.world import (
    BACKGROUNDS,
    CARRIES,
    COLOURS,
    HELD_OUT_PAIRS,
    MODALITIES,
    THINGS,
    VALUES,
    Scene,
    random_scene,
    sample,
    source_hash,
    visible,
)

__all__ = [
    "BACKGROUNDS", "CARRIES", "COLOURS", "HELD_OUT_PAIRS", "KINDS", "MODALITIES", "TAG_WORDS", "THINGS", "VALUES",
    "Dialogue", "MediaPart", "Scene", "attribute_words", "dialogue", "mismatched_media", "out_of_distribution_kind",
    "out_of_distribution_medium", "parse_reply", "parse_tags", "phrase", "random_scene", "render", "render_medium",
    "sample", "sounding", "source_hash", "tag_caption", "text_only", "thing_mask", "visible", "vocabulary_corpus",
    "write_toybox",
]  # fmt: skip
