"""Experts: what other models say about a medium, added to the prompt (LLaMA-Adapter V2, 2304.15010, Sec. 4.4).

An expert adds words and nothing else: the model was not trained with it, it works at inference only, and it is
optional. The words for a medium are cached, so that later turns do not ask again.

    experts = Experts([Captioner("captioner"), SearchExpert("notes")])
    model.chat(messages, experts=experts)

Anything with ``name``, ``reads`` and ``context`` is an expert. The ones here load what `save_pretrained` wrote into a
folder: nothing is fetched, and weights are safetensors only.
"""

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

#: Characters of one expert's words on one part; what is longer is cut, so that it cannot push out the conversation.
MAX_CONTEXT_CHARACTERS = 400
LOCAL = {"local_files_only": True}


class ExpertError(ValueError):
    """An expert that cannot be used, with a sentence that says why."""


class Expert(Protocol):
    """Something that can say a few words on a part of a message."""

    name: str  #: how its words are introduced in the text
    reads: tuple[str, ...]  #: types of the parts that it reads: "text", "image", "video", "audio", "points"

    def context(self, part: dict[str, Any]) -> str:
        """What it says of ``part``; "" when it has nothing to say."""
        ...


class Experts:
    """Adds the words of several experts to the user's messages, and remembers them."""

    def __init__(self, experts: Sequence[Expert]) -> None:
        self.experts = list(experts)
        self._said: dict[tuple[str, str], str] = {}

    def add_context(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """New messages, the experts' words in front of the text that follows each part."""
        return [self._with_context(message) if message.get("role") == "user" else message for message in messages]

    def _with_context(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            return message  # not a message that can be read: refused with a sentence where it is encoded
        result: list[dict[str, Any]] = []
        words: list[str] = []
        for part in parts:
            words += self._words(part)
            if part.get("type") == "text" and words:
                part, words = {**part, "text": "\n".join([*words, part["text"]])}, []
            result.append(part)
        if words:
            result.append({"type": "text", "text": "\n".join(words)})
        return {**message, "content": result}

    def _words(self, part: dict[str, Any]) -> list[str]:
        said = [(expert.name, self._ask(expert, part)) for expert in self.experts if part.get("type") in expert.reads]
        return [f"[{name}: {words[:MAX_CONTEXT_CHARACTERS]}]" for name, words in said if words]

    def _ask(self, expert: Expert, part: dict[str, Any]) -> str:
        if part["type"] != "text" and part.get("array") is None:
            return ""  # only an embedding is given: there is no array to read
        key = (expert.name, _fingerprint(part))
        if key not in self._said:
            self._said[key] = " ".join(expert.context(part).split())
        return self._said[key]


class ImageToText:
    """Any image-to-text model of transformers with its processor: what it writes about an image."""

    name = "picture"
    reads = ("image", "video")

    def __init__(self, folder: str | Path, max_new_tokens: int = 40) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.max_new_tokens = max_new_tokens
        self.processor = AutoProcessor.from_pretrained(folder, **LOCAL)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **LOCAL).eval()

    @torch.no_grad()
    def context(self, part: dict[str, Any]) -> str:
        inputs = self.processor(images=image_of(part), return_tensors="pt")
        ids = self.model.generate(
            pixel_values=inputs["pixel_values"], max_new_tokens=self.max_new_tokens, do_sample=False
        )
        return self.processor.batch_decode(ids, skip_special_tokens=True)[0]


class Captioner(ImageToText):
    """A captioning model: BLIP, GIT, ViT-GPT2 and their like."""

    name = "the picture shows"


class TextReader(ImageToText):
    """An OCR model: TrOCR and its like."""

    name = "text in the picture"


class Detector:
    """An object detector of transformers: DETR, YOLOS, RT-DETR and their like. Says what it found, and how many."""

    name = "found in the picture"
    reads = ("image", "video")

    def __init__(self, folder: str | Path, threshold: float = 0.5) -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        self.threshold = threshold
        self.processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
        self.model = AutoModelForObjectDetection.from_pretrained(folder, use_safetensors=True, **LOCAL).eval()

    @torch.no_grad()
    def context(self, part: dict[str, Any]) -> str:
        outputs = self.model(**self.processor(images=image_of(part), return_tensors="pt"))
        [found] = self.processor.post_process_object_detection(outputs, threshold=self.threshold)
        names = Counter(self.model.config.id2label[label] for label in found["labels"].tolist())
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in sorted(names.items()))


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


#: Experts by the name that the command line takes; each is made from a folder.
EXPERTS = {"caption": Captioner, "ocr": TextReader, "detect": Detector, "search": SearchExpert}


def load_experts(choices: Sequence[str]) -> Experts:
    """``["caption=FOLDER", ...]`` -> Experts. ExpertError names an unknown expert or a folder that is not there."""
    made = []
    for choice in choices:
        name, _, folder = choice.partition("=")
        if name not in EXPERTS:
            raise ExpertError(f"unknown expert {name!r}: expected NAME=FOLDER with one of {', '.join(EXPERTS)}")
        if not Path(folder).is_dir() or not folder:
            raise ExpertError(f"expert {name}: there is no folder {folder!r}")
        made.append(EXPERTS[name](folder))
    return Experts(made)


def image_of(part: dict[str, Any]) -> Image.Image:
    """A part's image, or the middle frame of its video, as RGB."""
    array = np.asarray(part["array"])
    return Image.fromarray(array[len(array) // 2] if part["type"] == "video" else array).convert("RGB")


def _fingerprint(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return hashlib.sha256(part["text"].encode()).hexdigest()
    array = np.ascontiguousarray(part["array"])
    return hashlib.sha256(f"{array.shape}{array.dtype}".encode() + array.tobytes()).hexdigest()
