"""``nextgpt-lite bench serve``: how fast the engine answers, alone and under load, and how soon it stops."""

from __future__ import annotations

import statistics
import time
from typing import Any

from demo.engine.engine import Engine
from demo.engine.job import MediumProgress
from demo.engine.model_pool import load

QUESTION = [{"role": "user", "content": "Describe a large yellow car on a meadow."}]
FILM = [{"role": "user", "content": "Make a video of a green car moving left."}]
TOGETHER = 8
ROUNDS = 5


def run() -> dict[str, Any]:
    """Tokens a second of text requests one at a time and ``TOGETHER`` waiting, in turns; seconds to the first token,
    on a quiet engine and while a video is made; seconds from cancelling a video to its end. Medians."""
    engine = Engine(lambda: load("nano"), batch=TOGETHER)
    try:
        engine.warm_up().result()
        _tokens_a_second(engine, TOGETHER)  # the first run of a kernel costs more
        rates = {count: [] for count in (1, TOGETHER)}
        for _ in range(ROUNDS):  # in turns, so that whatever else runs slows both
            for count, measured in rates.items():
                measured.append(_tokens_a_second(engine, count))
        alone, together = (statistics.median(measured) for measured in rates.values())
        return {
            "tokens_a_second": {"one_at_a_time": alone, f"{TOGETHER}_waiting": together, "ratio": together / alone},
            "first_token_seconds": {
                "quiet": statistics.median(_first_token(engine) for _ in range(ROUNDS)),
                "while_a_video_is_made": _first_token_beside_a_video(engine),
            },
            "cancelling_a_video_seconds": statistics.median(_cancelling(engine) for _ in range(ROUNDS)),
        }
    finally:
        engine.close()


def _tokens_a_second(engine: Engine, count: int) -> float:
    """``count`` requests that wait together, or, of 1, as many one after the other."""
    started = time.perf_counter()
    if count == 1:
        tokens = sum(engine.submit(QUESTION, allowed_media=()).result().tokens for _ in range(TOGETHER))
    else:
        jobs = [engine.submit(QUESTION, allowed_media=()) for _ in range(count)]
        tokens = sum(job.result().tokens for job in jobs)
    return tokens / (time.perf_counter() - started)


def _first_token(engine: Engine) -> float:
    return engine.submit(QUESTION, allowed_media=()).result().timings["first_token"]


def _first_token_beside_a_video(engine: Engine) -> float:
    """The median of requests that come one after the other while one video is made."""
    film, seconds = engine.submit(FILM, steps=40), []
    for event in film:
        if isinstance(event, MediumProgress) and event.step % 4 == 0 and len(seconds) < ROUNDS:
            time.sleep(0.05)  # some way into a step
            seconds.append(_first_token(engine))
    return statistics.median(seconds)


def _cancelling(engine: Engine) -> float:
    """From the word, a little after a step has begun, to the last event."""
    job, said = engine.submit(FILM, steps=40), 0.0
    for event in job:
        if isinstance(event, MediumProgress) and not said:
            said = time.perf_counter()
            job.cancel()
    return time.perf_counter() - said
