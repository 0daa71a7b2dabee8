"""What waits is done together: media of one kind in one batch, messages beside the thread that generates."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from demo.engine.engine import Engine
from demo.engine.events import Finished, MediumCancelled, MediumProgress, MediumReady
from tests.demo.taught import HELLO, user

SOUND = {"steps": 2, "required_modality": "audio", "allowed_media": ["audio"]}


@pytest.fixture
def own(taught):
    """An engine whose settings a test may change."""
    engine = Engine(taught, queue_limit=24)
    engine.warm_up().result()
    yield engine
    engine.close()


@pytest.fixture
def sizes(taught, monkeypatch):
    """Modality and number of media of each call of the decoders."""
    seen, decode = [], taught.decode

    def recorded(modality, conditions, *arguments, **settings):
        seen.append((modality, len(conditions)))
        return decode(modality, conditions, *arguments, **settings)

    monkeypatch.setattr(taught, "decode", recorded)
    return seen


@pytest.fixture
def held(own, taught):
    """Holds the thread that generates until it is told to go on, so that requests gather."""
    go = threading.Event()
    own.call(lambda model: go.wait(60))
    yield go.set
    go.set()


def test_media_of_one_kind_that_wait_are_decoded_together(own, taught, sizes, held):
    sounds = [own.submit([user("hello")], seed=number, **SOUND) for number in range(5)]
    film = own.submit([user("hello")], required_modality="video", allowed_media=["video"], steps=1)
    slower = own.submit([user("hello")], **SOUND | {"steps": 3})
    held()
    replies = [job.result().reply for job in sounds]
    assert film.result().reply.media and slower.result().reply.media
    assert sum(count for modality, count in sizes if modality == "audio") == 6
    assert max(count for modality, count in sizes if modality == "audio") >= 3 and ("video", 1) in sizes
    for number, reply in enumerate(replies):  # each has its own noise, whoever is in the batch
        [alone] = own.submit([user("hello")], seed=number, **SOUND).result().reply.media
        np.testing.assert_allclose(reply.media[0].array, alone.array, atol=1e-3)
    assert not np.allclose(replies[0].media[0].array, replies[1].media[0].array, atol=1e-3)


def test_one_of_a_batch_is_stopped_and_the_others_come(own, held):
    jobs = [own.submit([user("hello")], seed=number, **SOUND | {"steps": 12}) for number in range(4)]
    held()
    events = []
    for event in jobs[1]:
        events.append(event)
        if isinstance(event, MediumProgress):
            jobs[1].cancel_medium(0)
            jobs[2].cancel()
    assert [type(event) for event in events if isinstance(event, MediumCancelled)] == [MediumCancelled]
    assert isinstance(events[-1], Finished) and not events[-1].cancelled and events[-1].reply.media == []
    assert jobs[2].result().cancelled
    assert all(jobs[number].result().reply.media for number in (0, 3)) and own.unfinished == 0


def test_two_media_of_a_reply_in_one_batch_keep_their_order(own, held, taught):
    jobs = [own.submit([user("film it and play it")], seed=number, steps=1) for number in range(3)]
    held()
    for job in jobs:
        *_, last = events = list(job)
        assert [medium.modality for medium in last.reply.media] == ["video", "audio"]
        assert sorted(event.index for event in events if isinstance(event, MediumReady)) == [0, 1]
        assert [medium.position for medium in last.reply.media] == [len("Watch and listen.")] * 2


def test_a_batch_that_is_too_large_is_tried_with_fewer(own, held, taught, monkeypatch):
    decode = taught.decode

    def small_memory(modality, conditions, *arguments, **settings):
        if len(conditions) > 2:
            raise RuntimeError("out of memory")
        return decode(modality, conditions, *arguments, **settings)

    monkeypatch.setattr(taught, "decode", small_memory)
    jobs = [own.submit([user("hello")], seed=number, **SOUND) for number in range(5)]
    held()
    assert all(job.result().reply.media for job in jobs) and own.media_batch <= 2


def test_nobody_waits_while_messages_are_read(own, taught, monkeypatch):
    prepare, go, began = taught.prepare, threading.Event(), threading.Event()

    def slow(messages):
        if "long" in messages[-1]["content"][-1]["text"]:
            began.set()
            assert go.wait(60)
        return prepare(messages)

    monkeypatch.setattr(taught, "prepare", slow)
    long = own.submit([user("a long story")], allowed_media=[])
    assert began.wait(60)
    assert own.submit([user("hello")]).result().reply.text == HELLO and not long.done
    stopped = own.submit([user("another long story")])
    stopped.cancel()
    go.set()
    assert stopped.result().cancelled and isinstance(long.result(), Finished)
