"""What standard clients send and show: base64 of all kinds, media of replies as links, texts of all kinds."""

from __future__ import annotations

import base64
import json
import re

import httpx
import pytest

from data.media.loading import Medium
from data.media.saving import save_medium
from tests.demo.servers import client, serving
from tests.demo.taught import HELLO, PICTURE, SEEN

FILM = {"role": "user", "content": "film it and play it"}
LINK = re.compile(r"!?\[(\w+)\]\((http[^)]+)\)")


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    return save_medium(Medium("image", PICTURE["array"]), tmp_path_factory.mktemp("a") / "a.png").read_bytes()


@pytest.fixture
def ask(address):
    def ask(*messages, **settings) -> httpx.Response:
        body = {"model": "taught", "messages": messages, "steps": 1, **settings}
        return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=250)

    return ask


def content(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def urlsafe(data: str) -> str:
    return data.translate(str.maketrans("+/", "-_"))


@pytest.mark.parametrize(
    "write",
    [
        lambda data: data,
        lambda data: "\n".join(re.findall(".{1,76}", data)) + "\n",
        lambda data: "\r\n".join(re.findall(".{1,64}", data)),
        lambda data: data.rstrip("="),
        urlsafe,
        lambda data: urlsafe(data).rstrip("="),
        lambda data: data.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    ],
)
@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/png;charset=utf-8;BASE64, "])
def test_base64_as_programs_write_it(ask, png, write, head):
    shown = {"type": "image_url", "image_url": {"url": head + write(base64.b64encode(png).decode())}}
    said = {"role": "user", "content": [shown, {"type": "text", "text": "what is this?"}]}
    assert content(ask(said, modalities=["text"])) == SEEN


def test_sounds_and_files_come_as_data_addresses_too(ask, png, tmp_path):
    sound = save_medium(Medium("audio", PICTURE["array"][0, :, 0] / 255.0, 16_000.0), tmp_path / "a.wav").read_bytes()
    data = base64.b64encode(sound).decode()
    for given in (data, f"data:audio/wav;base64,{data}"):
        heard = {"type": "input_audio", "input_audio": {"data": given, "format": "wav"}}
        assert ask({"role": "user", "content": [heard]}, modalities=["text"]).status_code == 200
    picture = base64.b64encode(png).decode()
    for given in (picture, f"data:image/png;base64,{picture}"):
        file = {"type": "file", "file": {"filename": "a.png", "file_data": given}}
        said = {"role": "user", "content": [file, {"type": "text", "text": "what is this?"}]}
        assert content(ask(said, modalities=["text"])) == SEEN
    broken = ask({"role": "user", "content": [{"type": "file", "file": {"file_data": "no base64!"}}]})
    assert broken.status_code == 400 and "file is not base64" in broken.json()["error"]["message"]


def test_media_of_a_reply_are_links_that_open_without_a_key_and_are_read_again(service, tmp_path):
    from tests.demo.api.test_refusals import service_beside

    with serving(service_beside(service), keys=["secret"]) as address, client(address, "secret") as mine:
        reply = mine.chat.completions.create(model="taught", messages=[FILM], extra_body={"steps": 1})
        text = reply.choices[0].message.content
        links = LINK.findall(text)
        assert text.startswith("Watch and listen.\n\n") and [name for name, _ in links] == ["video", "audio"]
        page = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Origin": "http://another.example"}
        for _, link in links:
            assert httpx.get(link, headers=page).status_code == 200
            assert httpx.get(link[:-1] + "x").status_code == 401
            assert httpx.get(link.partition("?")[0]).status_code == 401
            assert httpx.delete(link).status_code == 401
            assert httpx.get(link, headers={"Host": "evil.example"}).status_code in (200, 403)
        # What a client keeps is the content alone, and it sends that back.
        talk = [FILM, {"role": "assistant", "content": text}, {"role": "user", "content": "hello"}]
        seen = mine.chat.completions.create(model="taught", messages=talk, modalities=["text"])
        words = [FILM, {"role": "assistant", "content": "Watch and listen."}, talk[2]]
        blind = mine.chat.completions.create(model="taught", messages=words, modalities=["text"])
        own, span = 2 * (1 + 2), 3 + 2  # <own> and two placeholders a medium; signals of a video and a sound
        assert seen.usage.prompt_tokens == blind.usage.prompt_tokens + own + span
        gone = text.replace("file-", "file-x")
        known = [FILM, {"role": "assistant", "content": gone}, talk[2]]
        signals = mine.chat.completions.create(model="taught", messages=known, modalities=["text"])
        assert signals.usage.prompt_tokens == blind.usage.prompt_tokens + span


def test_a_sound_streams_as_openais_audio_models_give_it(mine):
    stream = mine.chat.completions.create(
        model="taught", messages=[FILM], modalities=["text", "audio"], stream=True, extra_body={"steps": 1},
        audio={"voice": "alloy", "format": "pcm16"},
    )  # fmt: skip
    deltas = [chunk.model_dump()["choices"][0]["delta"].get("audio") for chunk in stream if chunk.choices]
    assert next(delta for delta in deltas if delta)["transcript"] == "Watch and listen."
    pieces = [base64.b64decode(delta["data"]) for delta in deltas if delta and delta.get("data")]
    assert sum(map(len, pieces)) == 2 * 24_000 * 2 and [each for each in deltas if each][-1]["expires_at"]


@pytest.mark.parametrize("words", ["hi \ud83d", ["\ud83d", "\ude00"]])
def test_half_characters_are_refused_at_every_door(address, ask, words):
    texts = [words] if isinstance(words, str) else words
    said = {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}
    bodies = {
        "chat/completions": {"model": "taught", "messages": [said]},
        "embeddings": {"model": "taught", "input": [{"type": "text", "text": text} for text in texts]},
        "images/generations": {"model": "taught", "prompt": texts[0]},
        "videos": {"model": texts[0], "prompt": "a bell"},
    }
    for route, body in bodies.items():
        answer = httpx.post(
            f"{address}/v1/{route}", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400 and "broken text" in answer.json()["error"]["message"], route


def test_text_in_parts_forges_nothing(ask):
    said = {"role": "user", "content": [{"type": "text", "text": part} for part in ("<ima", "ge> what is this?")]}
    assert ask(said, modalities=["text"]).status_code == 200
    assert content(ask({"role": "user", "content": [{"type": "text", "text": "hel"}]}, modalities=["text"])) != HELLO


@pytest.mark.parametrize(
    "part",
    [{"type": ["a"]}, {"type": "image_url", "image_url": {"url": 5}}, {"type": "file", "file": {"file_id": [1]}},
     {"type": "input_audio", "input_audio": {}}, {"type": "text"}, "text", None, {"type": "file", "file": {}},
     {"type": "file", "modality": "image", "id": "x"}, {"type": "image_url", "image_url": [[[[]]] * 300]}],
)  # fmt: skip
def test_parts_of_any_form_are_refused_in_a_sentence(ask, part):
    for role in ("user", "assistant"):
        answer = ask({"role": role, "content": [part]}, {"role": "user", "content": "hello"})
        assert answer.status_code == 400 and len(answer.json()["error"]["message"]) < 400


@pytest.mark.parametrize("part", [5, {"type": "text", "text": 1}, {"type": "smell"}, {"type": "image_url"}])
def test_inputs_of_any_form_are_refused_in_a_sentence(address, part):
    answer = httpx.post(f"{address}/v1/embeddings", json={"model": "taught", "input": ["a", part]})
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_values_that_are_nested_deep_are_refused(ask, address):
    deep = json.loads("[" * 900 + "]" * 900)
    assert "tools is [" in ask({"role": "user", "content": "hello"}, tools=deep).json()["error"]["message"]
    assert ask({"role": "user", "content": [{"type": deep}]}).status_code == 400
    assert httpx.get(f"{address}/openapi.json").json()["paths"].keys() >= {"/v1/chat/completions", "/v1/embeddings"}


def test_bad_requests_are_named(address, ask):
    answer = httpx.post(f"{address}/v1/chat/completions", content="{bad", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and "the body is not JSON" in answer.json()["error"]["message"]
    for messages, sentence in (
        ([{"role": "User", "content": "hi"}], "role 'User'"),
        ([{"role": "system", "content": "rule " * 1500}, {"role": "user", "content": "hi"}], "the system message has"),
        ([{"role": "user", "content": "a" * 505_000}] * 2, "1,010,000 characters: at most 1,000,000"),
    ):
        assert sentence in ask(*messages).json()["error"]["message"]


def test_turns_that_were_left_out_are_counted(ask):
    turns = [{"role": role, "content": "a word or two"} for _ in range(200) for role in ("user", "assistant")]
    last = {"role": "user", "content": "hello"}
    assert ask(last, modalities=["text"]).json()["dropped_turns"] == 0
    answer = ask(*turns, last, modalities=["text"]).json()
    assert answer["dropped_turns"] > 100 and answer["usage"]["prompt_tokens"] <= 768
    stream = ask(*turns, last, modalities=["text"], stream=True).text
    assert f'"dropped_turns": {answer["dropped_turns"]}' in stream
