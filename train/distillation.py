"""General conversation by self-distillation: prompts drawn from a chat model itself, with its own greedy answers.

    python -m train.distillation --model FOLDER --out FILE.jsonl [--count 5000] [--batch 32] [--seed 0]

An aligned model that is given its chat template up to where the user speaks writes what users write (Magpie,
2406.08464, Sec. 2.1). A model that is trained on such conversations keeps what it could say. The file is a manifest; a
run that was interrupted goes on where it stopped.
"""

import argparse
import json
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from data.text_files import parse_json
from nextgpt_lite.language_models import read_tokenizer

#: New tokens of a prompt, of which longer ones are left out, and of an answer, which is cut after a sentence.
PROMPT_TOKENS, ANSWER_TOKENS = 96, 160
SENTENCE_END = re.compile(r"[.!?](?=\s)|(?<=\S)(?=\n)")
#: Compressed to less than this share of its length, a text repeats itself.
MOST_COMPRESSED = 0.34
#: Prompts that name media are left out: a model that makes media answers those in another way.
MEDIA = re.compile(
    r"\b(?:draw|paint|sketch|illustrat|picture|image|photo|video|film|movie|clip|animat|sound|audio|music|song|listen|play)",
    re.IGNORECASE,
)


class Distiller:
    """Draws conversations from the chat model in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = read_tokenizer(folder)
        self.tokenizer.padding_side = "left"
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        ).eval()
        # Where the user speaks, in the model's own template.
        mark = "MARK"
        shown = self.tokenizer.apply_chat_template([{"role": "user", "content": mark}], tokenize=False)
        self.opening = str(shown).partition(mark)[0]

    def batch(self, seed: int, number: int, size: int) -> list[dict[str, Any]]:
        """Records of batch ``number`` of the stream ``seed``: of ``size`` drawn those that are whole."""
        torch.manual_seed(hash((seed, number)))
        prompts = self._generate([self.opening] * size, PROMPT_TOKENS, do_sample=True, temperature=1.0, top_p=0.95)
        asked = list(dict.fromkeys(prompt.strip() for prompt, whole in prompts if whole and fit_prompt(prompt)))
        asked.sort(key=len)
        chats = [
            str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": each}], tokenize=False, add_generation_prompt=True
                )
            )
            for each in asked
        ]
        written = self._generate(chats, ANSWER_TOKENS, do_sample=False) if chats else []
        answers = [answer.strip() if whole else cut(answer) for answer, whole in written]
        pairs = zip(asked, answers, strict=True)
        return [_record(prompt, answer, number) for prompt, answer in pairs if fit_answer(answer)]

    @torch.inference_mode()
    def _generate(self, texts: list[str], most: int, **options: Any) -> list[tuple[str, bool]]:
        """What the model goes on with, and whether it comes to an end within ``most`` tokens."""
        given = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        ids = self.model.generate(**given, max_new_tokens=most, top_k=None, **options)[:, given["input_ids"].shape[1] :]
        ended = (ids == self.tokenizer.eos_token_id).any(dim=1).tolist()
        words = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return list(zip(words, ended, strict=True))


def cut(text: str) -> str:
    """A text that was broken off, up to its last whole sentence or line; "" where less than half of it is left."""
    end = max((match.end() for match in SENTENCE_END.finditer(text)), default=0)
    return text[:end].strip() if end >= len(text) / 2 else ""


def fit_prompt(text: str) -> bool:
    """Whether a prompt says something, does not repeat itself and asks for no medium."""
    return len(text.strip()) > 3 and not MEDIA.search(text) and not repeats(text)


def fit_answer(text: str) -> bool:
    """Whether an answer says something and does not repeat itself."""
    return len(text.strip()) > 1 and not repeats(text)


def repeats(text: str) -> bool:
    """Whether a line of some length comes twice, six words in a row three times, or the text compresses too well."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 24]
    words = text.lower().split()
    runs = [tuple(words[at : at + 6]) for at in range(len(words) - 5)]
    often = max(map(runs.count, set(runs)), default=0)
    small = len(text) > 200 and len(zlib.compress(text.encode())) < MOST_COMPRESSED * len(text.encode())
    return len(set(lines)) < len(lines) or often > 2 or small


def distil(folder: Path, out: Path, count: int, size: int, seed: int) -> None:
    """Append conversations to the manifest ``out`` until it holds ``count``."""
    found, number = _resume(out)
    if found >= count:
        return
    distiller = Distiller(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = 0
    with tqdm(total=count, initial=found, unit="conversation") as bar, out.open("a", encoding="utf-8") as file:
        while bar.n < count:
            records = distiller.batch(seed, number, size)[: count - int(bar.n)]
            file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
            file.flush()
            number, drawn = number + 1, drawn + size
            bar.update(len(records))
            bar.set_postfix(drawn=drawn)


def _resume(out: Path) -> tuple[int, int]:
    """Conversations in the manifest, and the number of the batch that comes next. Half a last line is cut off."""
    if not out.is_file():
        return 0, 0
    lines = out.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        with out.open("r+b") as file:
            file.truncate(sum(map(len, lines)))
    return len(lines), parse_json(lines[-1].decode())["meta"]["batch"] + 1 if lines else 0


def _record(prompt: str, answer: str, number: int) -> dict[str, Any]:
    turns = (("user", prompt), ("assistant", answer))
    return {"messages": [{"role": role, "content": text} for role, text in turns], "meta": {"batch": number}}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="train.distillation", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a chat model with its template")
    parser.add_argument("--out", type=Path, required=True, help="manifest; a run that stopped goes on there")
    parser.add_argument("--count", type=int, default=5000, help="conversations")
    parser.add_argument("--batch", type=int, default=32, help="prompts drawn at once")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    for name in ("count", "batch"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(chosen, name)}")
    if not (chosen.model / "config.json").is_file():
        parser.error(f"--model {chosen.model} holds no model: expected a folder with config.json")
    distil(chosen.model, chosen.out, chosen.count, chosen.batch, chosen.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
