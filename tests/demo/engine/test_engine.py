"""The engine on a real, tiny model: what it answers, in which order, and how it stops."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch

from demo.engine.engine import Engine
from demo.engine.events import (
    Failed,
    Finished,
    MediumCancelled,
    MediumProgress,
    MediumReady,
    MediumStarted,
    TextDelta,
)
from demo.engine.job import QueueFull
from tests.demo.taught import HELLO, PICTURE, SEEN, user

VIDEO = [user("film it and play it")]
#: Conversations of different lengths, with media and without.
CONVERSATIONS = (
    [user("hello")],
    VIDEO,
    [user("what is this?", PICTURE)],
    [user("a long word " * 20)],
    [user("draw a bell")],
)


def kinds(events) -> list[type]:
    """Types of events in a row, repetitions left out."""
    types = [type(event) for event in events]
    return types[:1] + [later for earlier, later in pairwise(types) if later is not earlier]


def test_text_streams_then_each_medium_shows_progress_and_comes(engine):
    events = list(engine.submit(VIDEO, steps=2))
    medium = [MediumStarted, MediumProgress, MediumReady]
    assert kinds(events) == [TextDelta, *medium, *medium, Finished]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == events[-1].reply.text
    assert [(e.modality, e.index, e.step, e.total) for e in events if isinstance(e, MediumProgress)] == [
        ("video", 0, 1, 2), ("video", 0, 2, 2), ("audio", 1, 1, 2), ("audio", 1, 2, 2),
    ]  # fmt: skip
    timings = events[-1].timings
    assert 0 <= timings["waiting"] <= timings["first_token"] <= timings["text"] <= timings["total"]
    assert {"video", "audio"} <= timings.keys()


def test_a_reply_is_that_of_the_model(engine, taught):
    mine = engine.submit(VIDEO, seed=5, steps=2, guidance=1.5).result()
    theirs = taught.chat(VIDEO, seed=5, steps=2, guidance=1.5)
    assert mine.reply.text == theirs.text == "Watch and listen."
    assert [medium.modality for medium in mine.reply.media] == ["video", "audio"]
    for one, other in zip(mine.reply.media, theirs.media, strict=True):
        np.testing.assert_array_equal(one.array, other.array)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_reply_does_not_depend_on_who_shares_the_batch(engine, temperature):
    def submit(number, conversation):
        return engine.submit(conversation, seed=number, temperature=temperature, max_new_tokens=40, steps=1)

    alone = [submit(number, conversation).result().reply for number, conversation in enumerate(CONVERSATIONS)]
    together = [
        job.result().reply
        for job in [submit(number, conversation) for number, conversation in enumerate(CONVERSATIONS)]
    ]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    if temperature:
        assert submit(7, CONVERSATIONS[3]).result().reply.text != alone[3].text
    for one, other in zip(alone, together, strict=True):
        assert [m.modality for m in one.media] == [m.modality for m in other.media]
        for a, b in zip(one.media, other.media, strict=True):  # the same noise; conditions differ by rounding only
            difference = np.abs(a.array.astype(float) - b.array.astype(float)).mean()
            assert difference < 0.01 * (255 if a.array.dtype == np.uint8 else 1)


def test_previews_are_pictures_of_what_is_being_made(engine):
    conversation = [*CONVERSATIONS[2], {"role": "assistant", "content": SEEN}, user("draw a bell")]
    events = list(engine.submit(conversation, steps=3, previews=True))
    shown = [event.preview for event in events if isinstance(event, MediumProgress)]
    [made] = events[-1].reply.media
    assert len(shown) == 3 and all(p.dtype == np.uint8 and p.shape == made.array.shape for p in shown)
    assert np.abs(shown[-1].astype(int) - made.array).mean() <= np.abs(shown[0].astype(int) - made.array).mean()
    for event in engine.submit(VIDEO, steps=2, previews=True):
        if isinstance(event, MediumProgress):
            assert event.preview.ndim == 3 and event.preview.shape[2] == 3


def test_cancelling_ends_a_video_within_a_step(engine):
    job, steps = engine.submit(VIDEO, steps=50), []
    for event in job:
        if isinstance(event, MediumProgress):
            steps.append(event.step)
            job.cancel()
    assert isinstance(event, Finished) and event.cancelled
    assert event.reply.text == "Watch and listen." and event.reply.media == []
    assert len(steps) <= 3
    assert engine.submit([user("hello")]).result().reply.text == HELLO


def test_cancelling_ends_text_within_a_token(engine, taught):
    job, deltas = engine.submit([user("hello")]), 0
    for event in job:
        deltas += isinstance(event, TextDelta)
        job.cancel()
    assert event.cancelled and HELLO.startswith(event.reply.text) and event.reply.text != HELLO


def test_one_medium_is_cancelled_and_the_other_made(engine):
    job = engine.submit(VIDEO, steps=30)
    events = []
    for event in job:
        events.append(event)
        if isinstance(event, MediumProgress) and event.modality == "video":
            job.cancel_medium(0)
    assert [e.modality for e in events if isinstance(e, MediumCancelled)] == ["video"]
    assert [medium.modality for medium in event.reply.media] == ["audio"] and not event.cancelled


def test_text_of_a_later_request_comes_while_a_video_is_made(engine):
    video = engine.submit(VIDEO, steps=20, allowed_media=("video",))
    events = iter(video)
    while not isinstance(next(events), MediumProgress):
        pass
    later = engine.submit([user("hello")]).result()
    assert later.reply.text == HELLO and not video.done
    assert video.result().reply.media[0].modality == "video"


def test_only_allowed_media_are_made(engine):
    assert [m.modality for m in engine.submit(VIDEO, steps=1, allowed_media=["audio"]).result().reply.media] == [
        "audio"
    ]
    assert engine.submit(VIDEO, allowed_media=()).result().reply.media == []


def test_a_required_medium_is_generated_even_if_the_model_asks_for_none(engine):
    reply = engine.submit([user("hello")], steps=1, required_modality="image", allowed_media=[]).result().reply
    assert reply.text == HELLO and [medium.modality for medium in reply.media] == ["image"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_language_that_the_model_does_not_speak_changes_no_answer(engine, language):
    video = engine.submit(VIDEO, steps=1, language=language).result().reply
    assert video.text == engine.submit(VIDEO, steps=1, allowed_media=()).result().reply.text
    assert [medium.modality for medium in video.media] == ["video", "audio"]


def test_what_is_wrong_with_a_request_comes_as_a_sentence_and_the_next_is_answered(engine):
    [failed] = list(engine.submit([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}]))
    assert failed == Failed("the last message must be the user's", client_error=True)
    [failed] = list(engine.submit([user("word " * 3000)]))
    assert failed.client_error and "tokens, more than" in failed.sentence
    with pytest.raises(RuntimeError, match="must be the user's"):
        engine.submit([{"role": "assistant", "content": "hi"}]).result()
    assert engine.submit([user("hello")]).result().reply.text == HELLO


def test_a_failing_decoder_fails_its_request_alone(engine, taught, monkeypatch, caplog):
    def broken(*arguments, **keywords):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(taught.decoders["video"], "prompt", broken)
    video, hello = engine.submit(VIDEO), engine.submit([user("hello")])
    assert list(video)[-1] == Failed("the model failed at this request", client_error=False)
    assert hello.result().reply.text == HELLO
    assert "no memory left" in caplog.text and engine.unfinished == 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seed": -1}, "seed is -1: expected 0 to"),
        ({"steps": 1000}, "steps is 1000: expected 1 to 100"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"allowed_media": ["smell"]}, "a reply cannot hold 'smell': expected image, video, audio"),
        ({"required_modality": "points"}, "a reply cannot hold 'points'"),
        ({"language": "fr"}, "language is 'fr': expected en or zh"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(engine, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        engine.submit([user("hello")], **settings)
    assert engine.unfinished == 0


def test_a_full_queue_refuses_and_says_when_to_come_back(taught):
    small = Engine(taught, queue_limit=2)
    try:
        jobs = [small.submit(VIDEO, steps=30) for _ in range(2)]
        with pytest.raises(QueueFull, match="2 requests are waiting") as caught:
            small.submit([user("hello")])
        assert caught.value.seconds >= 1
        for job in jobs:
            job.cancel()
        assert all(job.result().cancelled for job in jobs)
        assert small.submit([user("hello")]).result().reply.text == HELLO
    finally:
        small.close()
    assert small.counts.requests == {"cancelled": 2, "finished": 1}
    with pytest.raises(RuntimeError, match="closed"):
        small.submit([user("hello")])


def test_a_model_that_does_not_load_is_told_to_whoever_asks():
    def missing():
        raise FileNotFoundError("no model there")

    broken = Engine(missing)
    [failed] = list(broken.submit([user("hello")]))
    assert isinstance(failed, Failed) and not failed.client_error
    with pytest.raises(FileNotFoundError, match="no model there"):
        broken.warm_up().result()
    broken.close()


def test_events_are_iterated_asynchronously_by_many_at_once(engine):
    async def read(job):
        return [event async for event in job]

    async def read_all():
        return await asyncio.gather(*(read(engine.submit([user("hello")])) for _ in range(12)))

    for events in asyncio.run(read_all()):
        assert kinds(events) == [TextDelta, Finished] and events[-1].reply.text == HELLO


def test_a_call_that_decodes_waits_for_the_medium_that_is_being_made(engine):
    video = engine.submit(VIDEO, steps=4, allowed_media=["video"])
    for event in video:
        if isinstance(event, MediumProgress) and event.step == 1:
            quick = engine.call(lambda model: video.done)
            decoding = engine.call(lambda model: video.done, decodes=True)
    assert quick.result() is False and decoding.result() is True


def test_calls_run_in_the_thread_that_owns_the_model(engine):
    threads = {engine.call(lambda model: torch.get_num_threads() and __import__("threading").get_ident()).result()}
    assert threads == {engine._thread.ident}
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda model: 1 // 0).result()


def test_a_call_that_decodes_does_not_disturb_the_medium_being_made(engine):
    """Both use the video decoder: inside the other's sampling it would take over its scheduler."""
    undisturbed = engine.submit(VIDEO, seed=5, steps=4).result().reply.media
    called, media = None, []
    for event in engine.submit(VIDEO, seed=5, steps=4):
        if isinstance(event, MediumProgress) and called is None:
            condition = torch.zeros(1, *engine.model.result().decoders["video"].condition_shape)
            called = engine.call(
                lambda model, condition=condition: model.decode("video", condition, [0], 2), decodes=True
            )
        media += [event.medium] if isinstance(event, MediumReady) else []
    assert called is not None and [medium.modality for medium in called.result()] == ["video"]
    for mine, other in zip(media, undisturbed, strict=True):
        np.testing.assert_array_equal(mine.array, other.array)


def test_a_request_that_comes_while_a_round_finds_nothing_to_do_is_served(engine, monkeypatch):
    """It is begun by that very round, after which the thread must not wait for another request to wake it."""
    late: Future = Future()
    drop = engine._drop_cancelled

    def comes_now() -> None:
        if not (late.done() or engine._waiting or engine._replies or engine._calls or engine._media):
            late.set_result(engine.submit([user("hello")]))
        drop()

    monkeypatch.setattr(engine, "_drop_cancelled", comes_now)
    assert engine.submit([user("hello")]).result().reply.text == HELLO
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(late.result(timeout=30).result)
        try:
            assert waiting.result(timeout=30).reply.text == HELLO
        finally:
            engine.call(lambda model: None)  # wakes a thread that sleeps, so that the test can end
