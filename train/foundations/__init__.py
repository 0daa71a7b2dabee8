"""Foundations of the embedded model: what pretrained weights would give, trained from nothing."""
