"""``nextgpt-lite bench serve``: tokens a second, time to the first token and to the end of a cancelled video."""

import statistics
import time
from typing import Any

from demo.engine.engine import Engine
from demo.engine.events import MediumProgress
from demo.engine.model_pool import load

QUESTION = [{"role": "user", "content": "Describe a large yellow car on a meadow."}]
VIDEO = [{"role": "user", "content": "Make a video of a green car moving left."}]
TOGETHER = 8
ROUNDS = 5


def run() -> dict[str, Any]:
    """Medians of: tokens a second of text requests, one at a time and ``TOGETHER`` waiting; seconds to the first token
    of an idle engine and during a video; seconds from cancelling a video to its end."""
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
    """Of ``TOGETHER`` requests, of which ``count`` wait together."""
    started, tokens = time.perf_counter(), 0
    for _ in range(TOGETHER // count):
        jobs = [engine.submit(QUESTION, allowed_media=()) for _ in range(count)]
        tokens += sum(job.result().tokens for job in jobs)
    return tokens / (time.perf_counter() - started)


def _first_token(engine: Engine) -> float:
    return engine.submit(QUESTION, allowed_media=()).result().timings["first_token"]


def _first_token_beside_a_video(engine: Engine) -> float:
    """The median of requests one after the other while one video is generated."""
    video, seconds = engine.submit(VIDEO, steps=40), []
    for event in video:
        if isinstance(event, MediumProgress) and event.step % 4 == 0 and len(seconds) < ROUNDS:
            time.sleep(0.05)  # some way into a step
            seconds.append(_first_token(engine))
    return statistics.median(seconds)


def _cancelling(engine: Engine) -> float:
    """Seconds from cancelling, a little after a step has begun, to the last event."""
    job, cancelled = engine.submit(VIDEO, steps=40), 0.0
    for event in job:
        if isinstance(event, MediumProgress) and not cancelled:
            cancelled = time.perf_counter()
            job.cancel()
    return time.perf_counter() - cancelled
