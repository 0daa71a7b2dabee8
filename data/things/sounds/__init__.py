"""Sounds of about 70 kinds with exact ground truth. The door; who uses it imports here."""

from data.things.sounds.kinds import Kind, kinds
from data.things.sounds.rendering import SECONDS, render_sound
from data.things.sounds.scenes import SoundScene, caption, sample

__all__ = ["SECONDS", "Kind", "SoundScene", "caption", "kinds", "render_sound", "sample"]
