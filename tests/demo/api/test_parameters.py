"""Every parameter of OpenAI's API is obeyed, refused unless it changes nothing, or ignored as docs/server.md says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_type_hints

import httpx
import pytest
import torch
from openai.types import embedding_create_params, image_generate_params, video_create_params
from openai.types.audio import speech_create_params
from openai.types.chat import completion_create_params

from demo.api.chat import ChatRequest
from demo.api.embeddings import EmbeddingRequest
from demo.api.generation import ImageRequest, MediumRequest, SpeechRequest
from demo.api.parameters import IGNORED, NEUTRAL
from nextgpt_lite.generate import nucleus
from tests.demo.taught import HELLO

SCHEMAS = {
    ChatRequest: completion_create_params.CompletionCreateParamsBase,
    ImageRequest: image_generate_params.ImageGenerateParamsBase,
    SpeechRequest: speech_create_params.SpeechCreateParams,
    MediumRequest: video_create_params.VideoCreateParams,
    EmbeddingRequest: embedding_create_params.EmbeddingCreateParams,
}
PAGE = (Path(__file__).parents[3] / "docs/server.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("request_class", SCHEMAS, ids=lambda each: each.route)
def test_the_tables_decide_for_every_parameter_that_openais_client_knows(request_class):
    fields = {field.alias or name for name, field in request_class.model_fields.items()}
    known = set(get_type_hints(SCHEMAS[request_class])) - {"messages", "extra_headers"}
    new = {"complexity", "frame_count", "frame_duration_ms", "svg"}  # of drawings and animations: refused by name
    assert known - fields - set(NEUTRAL[request_class.route]) - IGNORED <= new
    assert not fields & (set(NEUTRAL[request_class.route]) | IGNORED)


def test_the_page_names_every_parameter_of_the_tables():
    section = PAGE.split("## Parameters")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert IGNORED | {name for table in NEUTRAL.values() for name in table} <= named


@pytest.fixture
def post(address):
    return lambda route, **body: httpx.post(f"{address}/v1/{route}", json=body, timeout=250)


def chat(post, **settings):
    said = [{"role": "user", "content": "hello"}]
    return post("chat/completions", model="taught", messages=said, modalities=["text"], **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"response_format": {"type": "text"}, "n": 1, "logprobs": False, "frequency_penalty": 0.0, "logit_bias": {}},
        {"seed": None, "stop": None, "tools": [], "tool_choice": "auto", "max_tokens": None, "temperature": None},
        {"user": "me", "metadata": {"a": "b"}, "reasoning_effort": "high", "store": True, "stop": []},
        {"top_p": 0.5, "temperature": 0},
        {"stream": None, "stream_options": None, "audio": None, "media_format": None, "language": None, "steps": None},
    ],
)
def test_what_changes_nothing_is_taken(post, settings):
    assert chat(post, **settings).json()["choices"][0]["message"]["content"] == HELLO


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n": 3}, "n is 3: expected 1"),
        ({"stop": ["a"]}, "stop is ['a']: expected []"),
        ({"presence_penalty": 1.5}, "presence_penalty is 1.5: expected 0"),
        ({"frequency_penalty": -1}, "frequency_penalty is -1"),
        ({"logit_bias": {"5": 100}}, "logit_bias is"),
        ({"response_format": {"type": "json_object"}}, "response_format is"),
        ({"tools": [{"type": "function"}]}, "tools is"),
        ({"prediction": {"type": "content"}}, "prediction is"),
        ({"max_tokens": 0}, "max_tokens is 0: expected at least 1"),
        ({"max_completion_tokens": -5}, "max_tokens is -5"),
        ({"top_p": 1.5}, "top_p is 1.5: expected 0.0 to 1.0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"min_p": 0.1}, "'min_p' is no parameter of /v1/chat/completions"),
        ({"audio": {"format": "midi"}}, "audio.format: "),
    ],
)
def test_what_would_have_an_effect_is_refused(post, settings, sentence):
    answer = chat(post, **settings)
    assert answer.status_code == 400 and sentence in answer.json()["error"]["message"]


def test_parameters_of_other_routes(post):
    drawn = {"model": "taught", "prompt": "a bell", "steps": 1, "seed": None}
    assert post("images/generations", **drawn, size="64x64", quality="standard", user="me").status_code == 200
    for settings in ({"size": "512x512"}, {"quality": "hd"}, {"output_format": "webp"}, {"stream": True}):
        assert post("images/generations", **drawn, **settings).status_code == 400
    assert post("audio/speech", model="taught", input="a bell", voice="x", speed=2).status_code == 400
    for settings in ({"seconds": "8"}, {"size": "1x1"}, {"input_reference": {"file_id": "file-1"}}):
        assert post("videos", **drawn, **settings).status_code == 400
    assert post("embeddings", model="taught", input="a", user="me", truncate=5).status_code == 400
    vectors = post("embeddings", model="taught", input="a", user="me", encoding_format=None, dimensions=None).json()
    assert len(vectors["data"][0]["embedding"]) > 8


@pytest.mark.parametrize(
    "route",
    ["responses", "completions", "audio/transcriptions", "audio/translations", "images/edits", "images/variations",
     "moderations", "assistants/asst_1", "fine_tuning/jobs"],
)  # fmt: skip
def test_routes_that_are_not_served_say_so(post, route):
    answer = post(route, model="taught")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_served"
    assert "is not served: " in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ["v1/chat/completions", "v1/models", "v1/files", "healthz"])
def test_a_method_that_a_route_has_not_is_answered_with_those_it_has(address, route):
    answer = httpx.put(f"{address}/{route}", json={})
    assert answer.status_code == 405 and "method" in answer.json()["error"]["message"].lower()
    assert answer.headers["allow"]


def test_the_likeliest_tokens_are_sampled_from():
    probabilities = torch.tensor([0.1, 0.4, 0.2, 0.3])
    assert nucleus(probabilities, 0.5).tolist() == pytest.approx([0, 0.4, 0, 0.3])
    assert nucleus(probabilities, 0.0).tolist() == pytest.approx([0, 0.4, 0, 0])
    assert inspect.getdoc(nucleus)
