"""Decoding engines: what reads prompts and takes steps behind the one generator (:mod:`nextgpt_lite.generate`)."""

from nextgpt_lite.decoding.contexts import PrefixCache
from nextgpt_lite.decoding.engine import Decoding, Engine, Prepared

__all__ = ["Decoding", "Engine", "PrefixCache", "Prepared"]
