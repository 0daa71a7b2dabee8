"""Whether general conversation is kept: how likely a model finds what its own base answers.

The base answers general prompts greedily; the perplexity of these answers under the model is divided by that under the
base. 1 is the base itself.
"""

import math
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn import functional
from tqdm import tqdm

from nextgpt_lite import AnyToAny
from nextgpt_lite.language_models import load_language_model

TABLE = Path(__file__).with_name("general.yaml")
#: New tokens of an answer, prompts at once.
LONGEST, BATCH = 48, 10


def prompts(count: int) -> list[str]:
    """``count`` of the 200 general prompts, evenly spread over topics and forms."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    forms, topics = table["forms"], table["topics"]
    every = [forms[(number + turn) % len(forms)].format(topic=topic)
             for turn in range(len(forms)) for number, topic in enumerate(topics)]  # fmt: skip
    return every[:count]


@torch.inference_mode()
def perplexity_ratio(model: AnyToAny, count: int) -> float:
    """Perplexity of the base's own greedy answers to ``count`` prompts, under the model over that under the base."""
    base: Any = load_language_model(model.folder_of("language_model"))
    base.to(model.device)
    own, others, tokens = 0.0, 0.0, 0
    asked = prompts(count)
    for start in tqdm(range(0, len(asked), BATCH), desc="general conversation", unit="batch"):
        for prompt, answer in _answers(base, model, asked[start : start + BATCH]):
            ids = torch.tensor([[*prompt, *answer]], device=model.device)
            for which, logits in enumerate((base(ids).logits, model.core(ids).logits)):
                nats = functional.cross_entropy(
                    logits[0, len(prompt) - 1 : -1].float(), ids[0, len(prompt) :], reduction="sum"
                )
                own, others = (own + float(nats), others) if which == 0 else (own, others + float(nats))
            tokens += len(answer)
    return math.exp((others - own) / max(tokens, 1))


def _answers(base: Any, model: AnyToAny, asked: list[str]) -> list[tuple[list[int], list[int]]]:
    """Ids of prompts in the base's chat template, and of what it answers greedily, its end token included."""
    rows = [model.encode_messages([{"role": "user", "content": each}])[0] for each in asked]
    width, ends = max(map(len, rows)), sorted(model.end_tokens)
    ids = torch.tensor([[ends[0]] * (width - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
    greedy: dict[str, Any] = {"do_sample": False, "top_p": None, "top_k": None, "temperature": None}
    made = base.generate(
        ids, attention_mask=mask, max_new_tokens=LONGEST, pad_token_id=ends[0], eos_token_id=ends, **greedy
    )[:, width:].tolist()
    return [(row, _to_end(answer, ends)) for row, answer in zip(rows, made, strict=True)]


def _to_end(answer: list[int], ends: list[int]) -> list[int]:
    """Up to the first end token, that included."""
    first = next((place for place, token in enumerate(answer) if token in ends), len(answer) - 1)
    return answer[: first + 1]
