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
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from data.parts import part_folder
from data.resampling import resample
from data.strict import read_json
from data.text_files import check_texts
from nextgpt_lite.parts.lock import is_fetched

#: Characters of one expert's words on one part; what is longer is cut, so that it cannot push out the conversation.
MAX_CONTEXT_CHARACTERS = 400
MAX_REMEMBERED = 1000  #: Parts whose words are kept, the newest ones.
#: Tokens of speech in a window of 30 seconds, and how far its words may compress (Whisper, 2212.04356, Sec. 4.5).
MAX_WORDS, MAX_COMPRESSION = 120, 2.4
LOCAL = {"local_files_only": True, "trust_remote_code": False}


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
        return [self._with_context(message) for message in messages]

    def _with_context(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list) or not all(map(_is_part, parts)):
            return message  # another's, or not a message that can be read: refused with a sentence where it is encoded
        result: list[dict[str, Any]] = []
        words: list[str] = []
        for part in parts:
            words += self._words(part)
            if part["type"] == "text" and words:
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
            if len(self._said) >= MAX_REMEMBERED:
                del self._said[next(iter(self._said))]
            self._said[key] = " ".join(expert.context(part).split())
        return self._said[key]


def _is_part(part: Any) -> bool:
    """Whether experts can read a part."""
    if not isinstance(part, dict) or "type" not in part:
        return False
    try:
        check_texts(part.get("text"))
    except ValueError:
        return False
    return part["type"] != "text" or isinstance(part.get("text"), str)


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


class SpeechExpert:
    """A Whisper model: the words that are spoken in a sound, and nothing for a sound without speech.

    Whisper hears words in anything. They count as speech where it thinks so itself (``max_no_speech``, the probability
    that nobody speaks, and ``min_log_probability``, a mean over tokens) and where it does not repeat itself, which is
    how it writes down a bark or a siren. Of 104 sounds without speech the defaults let two cries through ("Yeah!").
    """

    name = "speech"
    reads = ("audio",)

    def __init__(
        self, folder: str | Path, max_no_speech: float = 0.25, min_log_probability: float = -1.1, windows: int = 2
    ) -> None:
        settings = Path(folder) / "generation_config.json"
        if not settings.is_file() or "no_timestamps_token_id" not in read_json(settings):
            raise ExpertError(f"{folder} holds no Whisper model: expected {settings.name} with no_timestamps_token_id")
        self.folder, self.windows = folder, windows
        self.max_no_speech, self.min_log_probability = max_no_speech, min_log_probability

    @cached_property
    def processor(self) -> Any:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(self.folder, **LOCAL)

    @cached_property
    def model(self) -> Any:
        """Loaded when there is a first sound: most conversations have none."""
        from transformers import WhisperForConditionalGeneration

        model = WhisperForConditionalGeneration.from_pretrained(
            self.folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        model.generation_config.max_length = None  # the one limit is MAX_WORDS
        return model.eval()

    @torch.no_grad()
    def context(self, part: dict[str, Any]) -> str:
        """The words of the first ``windows`` windows of 30 seconds."""
        extractor = self.processor.feature_extractor
        wave = torch.as_tensor(np.asarray(part["array"], np.float32))  # (N,) or (N, channels)
        wave = wave.mean(1) if wave.ndim == 2 else wave
        wave = resample(wave[None], round(part["rate"]), extractor.sampling_rate)[0]
        windows = wave.split(extractor.n_samples)[: self.windows]
        return " ".join(filter(None, (self._hear(window.numpy()) for window in windows)))

    def _hear(self, window: np.ndarray) -> str:
        from transformers import GenerationMixin, StoppingCriteriaList

        extractor = self.processor.feature_extractor
        features = extractor(window, sampling_rate=extractor.sampling_rate, return_tensors="pt").input_features
        encoded = self.model.get_encoder()(features)
        config = self.model.generation_config
        start = torch.tensor([[config.decoder_start_token_id]])
        first = self.model(encoder_outputs=encoded, decoder_input_ids=start).logits[0, -1].softmax(-1)
        if first[config.no_timestamps_token_id - 1] > self.max_no_speech:  # the token that says so stands before it
            return ""
        prompt = self._prompt(encoded, config)
        common: Any = GenerationMixin  # Whisper's own `generate` is for long recordings
        made = common.generate(
            self.model, encoder_outputs=encoded, decoder_input_ids=prompt, do_sample=False, max_new_tokens=MAX_WORDS,
            return_dict_in_generate=True, output_logits=True, stopping_criteria=StoppingCriteriaList([loops]),
        )  # fmt: skip
        tokens = made.sequences[0, prompt.shape[1] :]
        chosen = torch.cat(made.logits).log_softmax(-1).gather(1, tokens[:, None])
        words = self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return "" if chosen.mean() < self.min_log_probability or repeats_itself(words) else words

    def _prompt(self, encoded: Any, config: Any) -> torch.Tensor:
        """(1, tokens): start, for a model of many languages the one that it hears, no time stamps."""
        tokens = [config.decoder_start_token_id]
        if config.is_multilingual:
            tokens += [int(self.model.detect_language(encoder_outputs=encoded)[0]), config.task_to_id["transcribe"]]
        return torch.tensor([[*tokens, config.no_timestamps_token_id]])


def loops(ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
    """Whether the last twelve of the tokens (1, N) are three at most: there is nothing more to come. (1,)"""
    last = ids[0, -12:].tolist()
    return torch.tensor([len(last) == 12 and len(set(last)) <= 3])


def repeats_itself(text: str) -> bool:
    """Whether ``text`` is no words but one again and again, a letter drawn out, or what compresses as loops do."""
    words = re.findall(r"\w+", text.lower())
    content = text.encode()
    looped = len(content) > MAX_COMPRESSION * len(zlib.compress(content))
    drawn_out = re.search(r"([^\W\d])\1\1", text.lower()) is not None
    return not words or looped or drawn_out or (len(words) > 1 and len(set(words)) == 1)


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
EXPERTS = {
    "caption": Captioner,
    "ocr": TextReader,
    "detect": Detector,
    "hear": SpeechExpert,
    "search": SearchExpert,
}
#: Experts that may stand without a folder -> the pretrained part that they then read.
PARTS = {"hear": "whisper"}


def default_experts() -> Experts | None:
    """Those whose pretrained parts have been fetched, or None: what a model uses that nobody chose experts for."""
    names = [name for name, part in PARTS.items() if is_fetched(part)]
    return load_experts(names) if names else None


def load_experts(choices: Sequence[str]) -> Experts:
    """``["caption=FOLDER", "hear", ...]`` -> Experts.

    ExpertError names an unknown expert or a folder that is not there, PartMissing a pretrained part that is not.
    """
    made = []
    for choice in choices:
        name, _, folder = choice.partition("=")
        if name not in EXPERTS:
            raise ExpertError(f"unknown expert {name!r}: expected NAME=FOLDER with one of {', '.join(EXPERTS)}")
        if choice in PARTS:
            folder = part_folder(PARTS[choice])
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
