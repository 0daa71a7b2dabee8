"""What the server refuses: strangers, other sessions and hosts, too much, and files that are not what they say."""

from __future__ import annotations

import time

import httpx
import openai
import pytest

from data.media.loading import Medium
from data.media.saving import save_medium
from demo.data_urls import file_url
from tests.demo.servers import client, serving
from tests.demo.taught import PICTURE

HELLO = {"model": "taught", "messages": [{"role": "user", "content": "hello"}]}


def shown(address: str, kind: str = "image_url") -> dict:
    """A chat request that shows what is at ``address``."""
    return HELLO | {"messages": [{"role": "user", "content": [{"type": kind, kind: {"url": address}}]}]}


def refused(response: httpx.Response, status: int) -> str:
    """The one sentence of a refusal."""
    assert response.status_code == status, response.text
    sentence = response.json()["error"]["message"]
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    return sentence


@pytest.fixture
def post(address):
    def post(path: str, body=None, **settings) -> httpx.Response:
        return httpx.post(f"{address}/v1/{path}", json=body, timeout=250, **settings)

    return post


@pytest.mark.parametrize(
    "where",
    ["http://127.0.0.1:9/a.png", "https://example.com/a.png", "file:///etc/hostname", "/etc/hostname", "../secret.png",
     "ftp://example.com/a", "data:image/png,plain", "concat:/etc/hostname"],
)  # fmt: skip
def test_nothing_is_fetched_from_an_address(post, where):
    for kind in ("image_url", "video_url", "audio_url"):
        assert "not fetched" in refused(post("chat/completions", shown(where, kind)), 400)


def test_the_media_of_another_session_are_not_found(address, tmp_path):
    path = save_medium(Medium("image", PICTURE["array"]), tmp_path / "a.png")
    with client(address, "mine") as mine, client(address, "yours") as yours, path.open("rb") as file:
        stored = mine.files.create(file=file, purpose="user_data")
        for request in (yours.files.retrieve, yours.files.content, yours.files.delete):
            with pytest.raises(openai.NotFoundError, match="no file"):
                request(stored.id)
        message = {"role": "user", "content": [{"type": "file", "file": {"file_id": stored.id}}]}
        with pytest.raises(openai.NotFoundError, match="no file"):
            yours.chat.completions.create(model="taught", messages=[message])
        assert stored.id not in [each.id for each in yours.files.list()]
        assert mine.files.retrieve(stored.id).bytes == stored.bytes
        other = httpx.get(f"{address}/v1/files/{stored.id}", headers={"Authorization": "Bearer mine", "X-Session": "b"})
        assert other.status_code == 404


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fhostname", "file-", "../../../etc/hostname", "%00"])
def test_ids_are_no_paths(address, name):
    for path in (f"/v1/files/{name}/content", f"/v1/files/{name}", f"/v1/videos/{name}/content"):
        refused(httpx.get(address + path), 404)


def test_keys(service):
    with serving(service_beside(service), keys=["secret", "other"]) as address:
        assert "key is missing" in refused(httpx.post(f"{address}/v1/chat/completions", json=HELLO), 401)
        with client(address, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        assert httpx.get(f"{address}/metrics").status_code == 401
        assert httpx.get(f"{address}/healthz").status_code == 200
        with client(address, "other") as known:
            assert known.models.list().data


def service_beside(service, **settings):
    """A service with sessions of its own around the same engine."""
    from demo.api.service import Service
    from demo.api.sessions import Sessions

    return Service(service.engine, service.name, Sessions(**settings))


def test_other_host_names_and_pages_are_refused(address):
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert "not called" in refused(httpx.get(f"{address}/v1/models", headers={"Host": host}), 403)
    for host in ("localhost", "LOCALHOST:1234", "[::1]:80"):
        assert httpx.get(f"{address}/v1/models", headers={"Host": host}).status_code == 200
    foreign = httpx.post(f"{address}/v1/chat/completions", json=HELLO, headers={"Origin": "https://evil.example"})
    assert "may not use" in refused(foreign, 403)


def test_too_much_is_refused_while_it_is_read(post, address):
    large = shown("data:image/png;base64," + "A" * 2**20)
    assert "more than 1 MiB" in refused(post("chat/completions", large), 413)

    def endless():
        for _ in range(64):
            yield b"x" * 2**16

    chunked = httpx.post(
        f"{address}/v1/chat/completions", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert "more than 1 MiB" in refused(chunked, 413)
    many = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}] * 40
    body = HELLO | {"messages": [{"role": "user", "content": many}]}
    assert "40 media: at most 16" in refused(post("chat/completions", body), 400)
    small = "[" + "0," * 220_000 + "0]"
    for kind, status in (("application/json", 413), ("text/plain", 400)):  # other bodies are not read as values
        response = httpx.post(f"{address}/v1/embeddings", content=small, headers={"Content-Type": kind})
        assert ("more than 200,000 values" in refused(response, status)) == (status == 413)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "taught"}', b'{"model": "taught", "messages": [3]}'])
def test_bodies_that_are_no_request(address, body):
    response = httpx.post(f"{address}/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    refused(response, 400)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.png is mislabelled"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".svg files are not read"),
        ("a.m3u8", b"#EXTM3U\nfile:///etc/hostname\n", ".m3u8 files are not read"),
        ("a.mp4", b"ffconcat version 1.0\nfile /etc/hostname\n", "a.mp4 is mislabelled"),
        ("a.wav", b"", "a.wav is empty"),
    ],
)
def test_uploads_that_are_no_media(post, address, name, content, sentence):
    response = post("files", files={"file": (name, content)}, data={"purpose": "user_data"})
    assert sentence in refused(response, 400)
    assert httpx.get(f"{address}/v1/files").json()["data"] == []


def test_a_part_of_another_kind_than_it_says(post, tmp_path):
    path = save_medium(Medium("image", PICTURE["array"]), tmp_path / "a.png")
    mislabelled = file_url(path).replace("image/png", "video/mp4")
    assert "holds image, not video" in refused(post("chat/completions", shown(mislabelled, "video_url")), 400)
    assert "not base64" in refused(post("chat/completions", shown("data:image/png;base64,%%%")), 400)


def test_sessions_expire_with_their_files(service, tmp_path):
    path = save_medium(Medium("image", PICTURE["array"]), tmp_path / "a.png")
    beside = service_beside(service, minutes=10)
    with serving(beside, sweep_seconds=0.1) as address, client(address) as mine, path.open("rb") as file:
        stored = mine.files.create(file=file, purpose="user_data")
        [kept] = beside.sessions.folder.rglob("*.png")
        [session] = beside.sessions._sessions.values()
        session.used -= 500
        time.sleep(0.3)
        assert kept.exists() and mine.files.retrieve(stored.id)  # and so it is used again
        session.used -= 601
        deadline = time.monotonic() + 60
        while kept.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not kept.exists() and beside.sessions.count == 0
        with pytest.raises(openai.NotFoundError):
            mine.files.retrieve(stored.id)
    assert not beside.sessions.folder.exists()


def test_a_session_keeps_its_newest_files_and_the_server_has_an_end(service):
    from demo.api.errors import ApiError
    from demo.api.sessions import Session, Sessions

    sessions = Sessions(session_bytes=100, all_bytes=150)
    try:
        one, two = (Session(sessions.folder / name) for name in "ab")
        sessions._sessions = {"one": one, "two": two}
        first, second = (sessions.add(one, b"x" * 60, "a.png", "") for _ in range(2))
        assert list(one.files) == [second.id] and not first.path.exists()
        with pytest.raises(ApiError, match="no space"):
            sessions.add(two, b"x" * 99, "a.png", "")
        with pytest.raises(ApiError, match="at most"):
            sessions.add(two, b"x" * 101, "a.png", "")
    finally:
        sessions.close()


def test_a_full_queue_says_when_to_come_back(taught, service):
    from demo.api.service import Service
    from demo.engine.engine import Engine

    small = Engine(taught, queue_limit=1)
    film = HELLO | {"messages": [{"role": "user", "content": "film it"}], "steps": 100}
    try:
        blocking = small.submit(film["messages"], steps=100, required_modality="video", allowed_media=["video"])
        with serving(Service(small, "taught")) as address:
            response = httpx.post(f"{address}/v1/chat/completions", json=HELLO)
            assert "1 requests are waiting" in refused(response, 429)
            assert int(response.headers["Retry-After"]) >= 1
            blocking.cancel()
            blocking.result()
            assert httpx.post(f"{address}/v1/chat/completions", json=HELLO, timeout=250).status_code == 200
    finally:
        small.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_stops_its_computation(address, engine, stream):
    before = engine.counts.requests["cancelled"]
    film = {"model": "taught", "messages": [{"role": "user", "content": "film it and play it"}], "steps": 100}
    if stream:
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=film | {"stream": True}, timeout=250) as reply:
            next(line for line in reply.iter_lines() if '"step": 1' in line)
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/chat/completions", json=film, timeout=0.7)
    deadline = time.monotonic() + 120
    while engine.counts.requests["cancelled"] == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert engine.counts.requests["cancelled"] == before + 1 and engine.unfinished == 0
