"""Tokenizers as other models bring them, through the whole path: model folder, batch, engine, server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from demo.api.service import Service
from demo.engine.engine import Engine
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import CheckpointError, write_manifest
from tests.demo.servers import serving
from tests.demo.taught import PICTURE, user

TURNS = "{% for m in messages %}<|user|>{{ m.content | lower }}<|end|>{% endfor %}<|assistant|>"
STRICT = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}" + TURNS
)
TALK = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hello"},
    {"role": "user", "content": "what can you do?"},
]


def edit(path: Path, **values) -> None:
    known = json.loads(path.read_text()) if path.is_file() else {}
    known |= values
    path.write_text(json.dumps({name: value for name, value in known.items() if value is not None}))


def no_pad(folder: Path) -> None:
    edit(folder / "tokenizer/tokenizer_config.json", pad_token=None)


def strict_template(folder: Path) -> None:
    (folder / "tokenizer/chat_template.jinja").write_text(STRICT)


def several_ends(folder: Path) -> None:
    edit(folder / "language_model/generation_config.json", eos_token_id=[1, 3])


def no_end(folder: Path) -> None:
    """Only ``generation_config.json`` says what ends a reply, and it is the base model that has no pad token."""
    edit(folder / "tokenizer/tokenizer_config.json", eos_token=None, pad_token=None)
    edit(folder / "language_model/generation_config.json", eos_token_id=1, pad_token_id=None)


def other_sides(folder: Path) -> None:
    """Padding and truncation as a tokenizer may have been saved with."""
    edit(folder / "tokenizer/tokenizer_config.json", padding_side="right", truncation_side="left", model_max_length=16)


@pytest.mark.parametrize("change", [no_pad, strict_template, several_ends, no_end, other_sides])
def test_a_variant_answers_everywhere(tiny_folder, tmp_path, change: Callable[[Path], None]):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    change(folder)
    write_manifest(folder, "variant")
    model = AnyToAny.from_pretrained(folder, device="cpu")
    settings = {"max_new_tokens": 4, "allowed_media": []}
    together = model.chat_batch([TALK, [user("hi", PICTURE)]], seeds=[0, 0], **settings)
    assert [reply.text for reply in together] == [
        model.chat(talk, **settings).text for talk in (TALK, [user("hi", PICTURE)])
    ]
    assert 1 in model.end_tokens
    with serving(Service(engine := Engine(model), "variant")) as address:
        body = {"model": "variant", "messages": TALK, "max_tokens": 4, "modalities": ["text"]}
        answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=250)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"] == together[0].text
    engine.close()


def test_any_of_several_end_tokens_ends_a_reply(tiny_folder, tmp_path):
    """A base model that ends with one token and was taught to chat with another, as Llama 3 and Gemma."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    model = AnyToAny.from_pretrained(folder, device="cpu")
    [row] = _rows(model)
    first, second = row.ids[0], next(token for token in row.ids if token != row.ids[0])
    edit(folder / "language_model/generation_config.json", eos_token_id=[1, second])
    write_manifest(folder, "variant")
    [shorter] = _rows(AnyToAny.from_pretrained(folder, device="cpu"))
    assert set(shorter.ids) == {first} and shorter.finished


def _rows(model: AnyToAny):
    from nextgpt_lite.generate import Sampling, generate

    return generate(model.core, model.end_tokens, [(model.prepare([user("hello")]), Sampling(12, temperature=1.0))])


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "longer than 1 s"),
        ("{# " + "a" * 200_000 + " #}" + TURNS, "200,0.* characters: expected at most"),
        ("{{ raise_exception('no') }}", "refuses this conversation: no"),
    ],
)
def test_a_folder_whose_template_is_of_no_use_is_refused(tiny_folder, tmp_path, template, sentence):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "tokenizer/chat_template.jinja").write_text(template)
    write_manifest(folder, "variant")
    with pytest.raises(CheckpointError, match=sentence):
        AnyToAny.from_pretrained(folder, device="cpu")
