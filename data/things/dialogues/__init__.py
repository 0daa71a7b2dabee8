"""Conversations about the world of things in free words. The door; who uses them imports here."""

from data.things.dialogues.parts import Dialogue, MediaPart, Photograph, Spoken, Turn, Unknown
from data.things.dialogues.stream import KINDS, dialogue
from data.things.dialogues.wording import LANGUAGES

__all__ = ["KINDS", "LANGUAGES", "Dialogue", "MediaPart", "Photograph", "Spoken", "Turn", "Unknown", "dialogue"]
