"""Many clients at once: everyone gets an answer, the right one, and memory stays where it is.

``NEXTGPT_SOAK_SECONDS`` says for how long, 60 without it, ``NEXTGPT_SOAK_CLIENTS`` how many, 32 without it. What an
image took is printed (``pytest -s``).
"""

from __future__ import annotations

import base64
import io
import os
import random
import threading
import time
from collections import Counter

import numpy as np
import psutil
import pytest
from PIL import Image

from data.media.loading import Medium
from data.media.saving import save_medium
from demo.data_urls import file_url
from tests.demo.servers import client, serving
from tests.demo.taught import HELLO, PICTURE, SEEN, user

CLIENTS = int(os.environ.get("NEXTGPT_SOAK_CLIENTS", "32"))
SECONDS = float(os.environ.get("NEXTGPT_SOAK_SECONDS", "60"))
#: The most that resident memory may grow from a third of the time on, in bytes.
GROWTH = 96 * 2**20


class Visitor:
    """A client with a colour of its own, who checks every answer. ``wrong`` collects what it should not have got."""

    def __init__(self, number: int, address: str, references: dict, folder) -> None:
        self.number, self.references = number, references
        self.openai = client(address, f"visitor-{number}")
        self.random = random.Random(number)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        shade = number * 255 // CLIENTS
        colour = np.full((32, 32, 3), (shade, 255 - shade, number), np.uint8)
        self.file = save_medium(Medium("image", colour), folder / f"{number}.png")

    def visit(self, until: float) -> None:
        kinds = [self.greet, self.show, self.upload, self.draw, self.play]
        while time.monotonic() < until:
            kind, started = self.random.choice(kinds), time.monotonic()
            try:
                wrong = "" if kind() else "got what is another's"
            except Exception as error:
                wrong = repr(error)
            self.done[kind.__name__] += 1
            self.seconds += [time.monotonic() - started] if kind == self.draw else []
            self.wrong += [f"{self.number} {kind.__name__}: {wrong}"] if wrong else []
        self.openai.close()

    def _ask(self, content, **settings):
        messages = [{"role": "user", "content": content}]
        reply = self.openai.chat.completions.create(model="taught", messages=messages, **settings)
        return reply.choices[0].message

    def greet(self) -> bool:
        return self._ask("hello").content == HELLO

    def show(self) -> bool:
        shown = {"type": "image_url", "image_url": {"url": self.references["png"]}}
        return self._ask([shown, {"type": "text", "text": "what is this?"}]).content == SEEN

    def upload(self) -> bool:
        with self.file.open("rb") as file:
            stored = self.openai.files.create(file=file, purpose="user_data")
        same = self.openai.files.content(stored.id).read() == self.file.read_bytes()
        return self.openai.files.delete(stored.id).deleted and same

    def draw(self) -> bool:
        """The image nearest to that of the own seed; a batch rounds its condition differently."""
        extra = {"steps": 1, "seed": self.number}
        made = self.openai.images.generate(model="taught", prompt="a bell", extra_body=extra)
        image = decoded(base64.b64decode(made.data[0].b64_json))
        distances = {number: np.abs(image - decoded(self.references[number])).mean() for number in range(CLIENTS)}
        return min(distances, key=lambda number: distances[number]) == self.number

    def play(self) -> bool:
        message = self._ask("film it and play it", modalities=["audio"], extra_body={"steps": 1, "seed": self.number})
        return [each["modality"] for each in message.media] == ["audio"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_clients_each_get_their_own_answers_and_memory_stays(engine_of_load, tmp_path):
    from demo.api.service import Service

    references = reference_answers(engine_of_load, tmp_path)
    memory: list[int] = []
    with serving(Service(engine_of_load, "taught")) as address:
        started = time.monotonic()
        visitors = [Visitor(number, address, references, tmp_path) for number in range(CLIENTS)]
        threads = [threading.Thread(target=visitor.visit, args=(started + SECONDS,)) for visitor in visitors]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append(psutil.Process().memory_info().rss)
            time.sleep(0.5)
    waited = [seconds for visitor in visitors for seconds in visitor.seconds]
    print(f"{len(waited)} images, 95 % within {np.quantile(waited, 0.95):.1f} s, half within {np.median(waited):.1f} s")
    assert [wrong for visitor in visitors for wrong in visitor.wrong] == []
    done = sum((visitor.done for visitor in visitors), Counter())
    assert set(done) == {"greet", "show", "upload", "draw", "play"} and sum(done.values()) >= CLIENTS
    early = max(memory[: max(1, len(memory) // 3)])
    assert max(memory) - early < GROWTH, f"{early / 2**20:.0f} MiB grew to {max(memory) / 2**20:.0f}"
    assert engine_of_load.unfinished == 0


@pytest.fixture
def engine_of_load(taught):
    from demo.engine.engine import Engine

    engine = Engine(taught, queue_limit=64, batch=8)
    engine.warm_up().result()
    yield engine
    engine.close()


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)), np.float32)


def reference_answers(engine, folder) -> dict:
    """What each client must get, made while nobody else asks."""
    from demo.texts import request_for
    from nextgpt_lite.conversation_media import reply_medium_bytes

    seen = save_medium(Medium("image", PICTURE["array"]), folder / "seen.png")
    answers: dict = {"png": file_url(seen)}
    for number in range(CLIENTS):
        talk = [user(request_for("image", "a bell"))]
        settings = {"seed": number, "steps": 1, "allowed_media": ["image"], "required_modality": "image"}
        answers[number] = reply_medium_bytes(engine.submit(talk, **settings).result().reply.media[0])
    assert len({answers[number] for number in range(CLIENTS)}) == CLIENTS
    return answers
