"""What OpenAI's own client gets from a real server around a tiny model."""

from __future__ import annotations

import base64
import io
import time

import httpx
import numpy as np
import openai
import pytest
import soundfile
from PIL import Image

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from demo.data_urls import file_url
from tests.demo.taught import HELLO, PICTURE, SEEN
from tests.tiny_model import medium

#: OpenAI ends its own video service; the client warns of it, whoever's server it speaks to.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
FILM = [{"role": "user", "content": "film it and play it"}]


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    """The picture that the model was taught to see, as a file."""
    path = tmp_path_factory.mktemp("seen") / "seen.png"
    return save_medium(Medium("image", PICTURE["array"]), path)


def ask(client, content, **settings):
    extra = settings.pop("extra_body", {}) | {"steps": 1}
    messages = content if isinstance(content[0], dict) and "role" in content[0] else None
    messages = messages or [{"role": "user", "content": content}]
    return client.chat.completions.create(model="taught", messages=messages, extra_body=extra, **settings)


def test_text(mine):
    reply = ask(mine, "hello")
    assert reply.choices[0].message.content == HELLO and reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 10
    assert ask(mine, "hello", max_tokens=2).choices[0].finish_reason == "length"


def test_a_picture_comes_in_as_a_data_address_or_as_a_file(mine, png):
    text = {"type": "text", "text": "what is this?"}
    shown = {"type": "image_url", "image_url": {"url": file_url(png)}}
    assert ask(mine, [shown, text]).choices[0].message.content == SEEN
    with png.open("rb") as file:
        stored = mine.files.create(file=file, purpose="user_data")
    assert (stored.filename, stored.bytes, stored.modality) == ("seen.png", png.stat().st_size, "image")
    for part in (
        {"type": "file", "file": {"file_id": stored.id}},
        {"type": "image_url", "image_url": {"url": f"/v1/files/{stored.id}/content"}},
    ):
        assert ask(mine, [part, text]).choices[0].message.content == SEEN
    assert mine.files.content(stored.id).read() == png.read_bytes()
    assert stored.id in [each.id for each in mine.files.list()]
    assert mine.files.delete(stored.id).deleted
    with pytest.raises(openai.NotFoundError):
        mine.files.retrieve(stored.id)


def test_sound_and_points_come_in(mine, tmp_path):
    sound = save_medium(Medium("audio", medium("audio")["array"], 16_000.0), tmp_path / "a.wav")
    data = base64.b64encode(sound.read_bytes()).decode()
    heard = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    assert ask(mine, [heard], modalities=["text"]).object == "chat.completion"
    cloud = save_medium(Medium("points", medium("points")["array"]), tmp_path / "cloud.npy")
    with cloud.open("rb") as file:
        stored = mine.files.create(file=file, purpose="user_data")
    assert stored.modality == "points"
    assert ask(mine, [{"type": "file", "file": {"file_id": stored.id}}], modalities=["text"]).choices


def test_media_come_out_as_files_that_are_taken_in_again(mine, tmp_path):
    message = ask(mine, FILM).choices[0].message
    assert message.content.startswith("Watch and listen.\n\n[video](http")
    assert [each["modality"] for each in message.media] == ["video", "audio"]
    for each, suffix in zip(message.media, (".mp4", ".wav"), strict=True):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(base64.b64decode(each["b64_json"]))
        assert load_medium(path).modality == each["modality"]
        assert mine.files.content(each["id"]).read() == path.read_bytes()
    again = ask(mine, [*FILM, message.model_dump(), {"role": "user", "content": "hello"}], modalities=["text"])
    assert again.usage.prompt_tokens > ask(mine, "hello", modalities=["text"]).usage.prompt_tokens


def test_links_and_openai_audio_are_given_where_asked_for(mine):
    message = ask(mine, FILM, modalities=["text", "audio"], extra_body={"media_format": "link"}).choices[0].message
    [sound] = message.media
    assert "b64_json" not in sound and sound["url"] == f"/v1/files/{sound['id']}/content"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(message.audio.data)))
    assert rate == 16_000 and len(samples) > 16_000
    mp3 = ask(mine, FILM, modalities=["text", "audio"], audio={"voice": "alloy", "format": "mp3"}).choices[0].message
    assert soundfile.info(io.BytesIO(base64.b64decode(mp3.audio.data))).format == "MP3"


def test_a_stream_brings_text_then_progress_then_media(mine):
    chunks = list(ask(mine, FILM, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    content = "".join(delta.content or "" for delta in deltas)
    assert content.startswith("Watch and listen.\n\n[video](") and content.endswith(")") and "\n\n[audio](" in content
    media = [each for delta in deltas for each in (getattr(delta, "media", None) or [])]
    assert [(each["modality"], each["index"]) for each in media] == [("video", 0), ("audio", 1)]
    assert {"index": 0, "modality": "video", "step": 1, "steps": 1} in [
        getattr(delta, "media_progress", None) for delta in deltas
    ]
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage.completion_tokens > 3


def test_pictures_are_made_from_a_description(mine):
    made = mine.images.generate(model="taught", prompt="a bell", n=2, extra_body={"steps": 1, "seed": 3})
    one, two = (np.asarray(Image.open(io.BytesIO(base64.b64decode(each.b64_json)))) for each in made.data)
    assert one.shape == two.shape == (64, 64, 3) and not np.array_equal(one, two)
    again = mine.images.generate(
        model="taught", prompt="a bell", response_format="url", extra_body={"steps": 1, "seed": 4}
    )
    stored = httpx.get(again.data[0].url)  # its signature opens it
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored.content))), two)
    with pytest.raises(openai.BadRequestError, match="size is '512x512'"):
        mine.images.generate(model="taught", prompt="a bell", size="512x512")


def test_sounds_are_made_from_a_description(mine):
    settings = {"model": "taught", "voice": "none", "input": "a bell", "extra_body": {"steps": 1}}
    samples, rate = soundfile.read(io.BytesIO(mine.audio.speech.create(response_format="wav", **settings).read()))
    assert rate == 16_000
    raw = np.frombuffer(mine.audio.speech.create(response_format="pcm", **settings).read(), "<i2")
    assert len(raw) == len(samples) * 24_000 // 16_000  # the rate that clients of OpenAI assume
    for form, seen in (("mp3", "MP3"), ("flac", "FLAC"), ("opus", "OGG")):
        file = io.BytesIO(mine.audio.speech.create(response_format=form, **settings).read())
        found = soundfile.info(file)
        assert found.format == seen and found.duration == pytest.approx(len(samples) / rate, abs=0.1)


def test_a_video_is_created_looked_after_fetched_and_deleted(mine, tmp_path):
    video = mine.videos.create(model="taught", prompt="a bell", extra_body={"steps": 2})
    assert video.object == "video" and video.status in ("queued", "in_progress")
    while video.status in ("queued", "in_progress"):
        time.sleep(0.2)
        video = mine.videos.retrieve(video.id)
    assert (video.status, video.progress, video.size) == ("completed", 100, "64x64")
    (tmp_path / "a.mp4").write_bytes(mine.videos.download_content(video.id).read())
    assert load_medium(tmp_path / "a.mp4").modality == "video"
    assert video.id in [each.id for each in mine.videos.list()]
    assert mine.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError, match="no video"):
        mine.videos.retrieve(video.id)


def test_deleting_a_video_in_the_making_stops_it(mine, engine):
    before = engine.counts.requests["cancelled"]
    video = mine.videos.create(model="taught", prompt="a bell", extra_body={"steps": 100})
    with pytest.raises(openai.ConflictError, match="status is"):
        mine.videos.download_content(video.id)
    mine.videos.delete(video.id)
    deadline = time.monotonic() + 120
    while engine.counts.requests["cancelled"] == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert engine.counts.requests["cancelled"] == before + 1


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_of_texts_and_media_are_unit_vectors_of_the_encoder(mine, taught, png, form):
    shown = {"type": "image_url", "image_url": {"url": file_url(png)}}
    made = mine.embeddings.create(model="taught", input=["a red bell", shown], encoding_format=form)
    vectors = made.data
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(each.embedding), "<f4") for each in vectors]
    else:
        vectors = [np.array(each.embedding, np.float32) for each in vectors]
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in vectors], 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], taught.encoder.embed_text(["a red bell"])[0].detach(), atol=1e-6)
    pixels = taught.encoder.preprocess("image", PICTURE["array"])[None]
    np.testing.assert_allclose(vectors[1], taught.encoder.embed("image", pixels)[0].detach(), atol=1e-6)


def test_models_health_and_metrics(mine, address):
    assert [model.id for model in mine.models.list()] == ["taught"] and mine.models.retrieve("taught").object == "model"
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['nextgpt_lite_requests_total{outcome="finished"}']) > 3
    assert float(values["nextgpt_lite_tokens_total"]) > 10 and float(values["nextgpt_lite_resident_memory_bytes"]) > 1e8


def test_unknown_models_and_what_is_not_supported_are_refused(mine):
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'"):
        mine.chat.completions.create(model="gpt-4", messages=FILM)
    for content, sentence in (("word " * 3000, "tokens, more than"), ([{"type": "smell"}], "'smell' is not read")):
        with pytest.raises(openai.BadRequestError, match=sentence) as caught:
            ask(mine, content)
        assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="temperature is 9"):
        ask(mine, "hello", temperature=9)
