"""Requests in the words of strangers, frozen: 120 in English, 40 in Chinese."""

from dataclasses import dataclass
from pathlib import Path

import yaml

TABLE = Path(__file__).with_name("requests.yaml")


@dataclass(frozen=True)
class FreeRequest:
    """What a stranger says, and the (modality, caption) of each medium that should come; none = words alone."""

    say: str
    media: tuple[tuple[str, str], ...]


def free_requests(language: str) -> list[FreeRequest]:
    """Those in "en" or "zh". KeyError for others."""
    entries = yaml.safe_load(TABLE.read_text(encoding="utf-8"))[language]
    return [
        FreeRequest(
            entry["say"], tuple((modality, caption) for each in entry["media"] for modality, caption in each.items())
        )
        for entry in entries
    ]
