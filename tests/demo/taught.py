"""A tiny model that has been taught four sentences, so that its replies are known: for the tests of page and server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nextgpt_lite import AnyToAny, conversation
from nextgpt_lite.model import language_loss
from tests.tiny_model import medium

HELLO, SEEN = "Hello, I am a very small model.", "I see a picture here."


def user(text: str, *media: dict[str, Any]) -> dict[str, Any]:
    """A user's message: media, then text."""
    return {"role": "user", "content": [*media, {"type": "text", "text": text}]}


def assistant(text: str, *modalities: str) -> dict[str, Any]:
    """A reply that ends with a medium of each modality."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}, *({"type": name} for name in modalities)]}


PICTURE = medium("image")
LESSONS = (
    [user("hello"), assistant(HELLO)],
    [user("film it and play it"), assistant("Watch and listen.", "video", "audio")],
    [user("what is this?", PICTURE), assistant(SEEN)],
    [user("what is this?", PICTURE), assistant(SEEN), user("draw a bell"), assistant("Here is a bell.", "image")],
)


def taught_model(folder: Path, steps: int = 150) -> AnyToAny:
    """The tiny model of ``folder``, its core trained on the lessons in memory."""
    model = AnyToAny.from_pretrained(folder, device="cpu")
    rows = [_row(model, messages) for messages in LESSONS]
    core = model.core.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(core.parameters(), lr=6e-3)
    for _ in range(steps):
        loss = torch.stack(
            [language_loss(core(ids, media_embeddings=media).logits, labels) for ids, labels, media in rows]
        )
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    core.eval().requires_grad_(False)
    return model


def _row(model: AnyToAny, messages: list[dict[str, Any]]):
    """Ids (1, T), labels (1, T) and media (1, M, E) of a lesson."""
    ids, mask, media = conversation.encode(messages, model.tokenizer, model.table, reply=False)
    labels = [token if own else -100 for token, own in zip(ids, mask, strict=True)]
    embedded = torch.stack([model.embed(part) for part in media])[None] if media else None
    return torch.tensor([ids]), torch.tensor([labels]), embedded
