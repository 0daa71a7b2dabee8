"""A language model at an OpenAI-compatible address as a judge of words: is a reply right, given what it should say?

    nextgpt-lite evaluate own_data --data MANIFEST.jsonl --language-judge llama-3.3-70b@http://127.0.0.1:8000/v1

The address is asked once a reply, without sampling. An answer that begins with neither yes nor no is an abstention. A
key, where the address wants one, is read from the environment variable NEXTGPT_JUDGE_KEY and stands in no report.
"""

import hashlib
import json
import os
import re
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException

from tqdm import tqdm

PROMPT = """You judge replies of an assistant. Say whether the reply says what the reference says about the question;
other wording is fine, contradictions and missing facts are not. Answer with one word: yes, no or unsure.

Question: {question}
Reference: {reference}
Reply: {reply}
Right:"""
KEY = "NEXTGPT_JUDGE_KEY"
SECONDS = 60.0


@dataclass(frozen=True)
class LanguageJudge:
    """The model ``model`` at ``address``, the part of a URL before ``/chat/completions``."""

    model: str
    address: str

    @classmethod
    def parse(cls, text: str) -> "LanguageJudge":
        """ "MODEL@URL". ValueError for anything else."""
        model, at, address = text.partition("@")
        if not (model and at) or not re.match(r"https?://[^\s/]+", address):
            raise ValueError(f"--language-judge must be MODEL@URL, e.g. llama@http://127.0.0.1:8000/v1, not {text!r}")
        return cls(model, address.rstrip("/"))

    @property
    def name(self) -> str:
        return f"{self.model} at {self.address}"

    @property
    def hash(self) -> str:
        """Of what it is asked; what it is, only its address knows."""
        return hashlib.sha256(f"{self.name}\n{PROMPT}".encode()).hexdigest()

    def verdict(self, question: str, reference: str, reply: str) -> bool | None:
        """Whether a reply is right; None where the judge abstains. ValueError where the address does not answer."""
        text = PROMPT.format(question=question, reference=reference, reply=reply)
        body = {"model": self.model, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8}
        said = self._ask(body).strip().lower()
        return {"yes": True, "no": False}.get(re.match(r"[a-z]*", said)[0]) if said else None  # pyright: ignore

    def verdicts(self, asked: Iterable[tuple[str, str, str]]) -> list[bool | None]:
        """One for each (question, reference, reply)."""
        return [self.verdict(*each) for each in tqdm(list(asked), desc=f"judged by {self.model}", unit="reply")]

    def _ask(self, body: dict) -> str:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/chat/completions", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return str(json.loads(answer.read())["choices"][0]["message"]["content"] or "")
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            reason = getattr(error, "reason", None) or error
            raise ValueError(f"the judge {self.name} does not answer as OpenAI's API does: {reason}") from error
