"""Point clouds of about 580 3D models of 136 kinds. The door; who uses it imports here."""

from data.things.points.kinds import ModelKind, model_kinds
from data.things.points.scenes import COUNT, PointScene, caption, render_points, sample

__all__ = ["COUNT", "ModelKind", "PointScene", "caption", "model_kinds", "render_points", "sample"]
