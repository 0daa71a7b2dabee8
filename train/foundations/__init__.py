"""Foundations of the embedded model: what pretrained weights would give, trained from nothing.

    nextgpt-lite train train/recipes/foundations/image_vae.yaml

A recipe of ``train/recipes/foundations`` or ``train/recipes/judges`` names its task, see ``train.TASKS``.
"""
