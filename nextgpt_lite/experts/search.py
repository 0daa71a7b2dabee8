"""The expert that searches notes."""

import re
import sqlite3
from pathlib import Path
from typing import Any

from nextgpt_lite.experts.base import ExpertError


class SearchExpert:
    """Full-text search in the paragraphs of a folder of ``.txt`` and ``.md`` files, by SQLite (no model at all)."""

    name = "from the notes"
    reads = ("text",)

    def __init__(self, folder: str | Path, passages: int = 1) -> None:
        files = sorted(file for file in Path(folder).rglob("*") if file.suffix in (".txt", ".md"))
        if not files:
            raise ExpertError(f"{folder} holds nothing to search: expected .txt or .md files")
        self.passages = passages
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.database.execute("CREATE VIRTUAL TABLE paragraphs USING fts5(text, tokenize='porter unicode61')")
        paragraphs = [p.strip() for file in files for p in file.read_text(encoding="utf-8").split("\n\n")]
        self.database.executemany("INSERT INTO paragraphs VALUES (?)", [(p,) for p in paragraphs if p])

    def context(self, part: dict[str, Any]) -> str:
        words = [word for word in re.findall(r"\w+", part["text"]) if len(word) > 3]  # short ones are in every text
        if not words:
            return ""
        query = " OR ".join(f'"{word}"' for word in words)
        found = self.database.execute(
            "SELECT text FROM paragraphs WHERE paragraphs MATCH ? ORDER BY bm25(paragraphs) LIMIT ?",
            (query, self.passages),
        )
        return " ".join(text for (text,) in found)
