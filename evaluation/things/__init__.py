"""Measuring models that know the world of things."""
