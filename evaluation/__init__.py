"""Evaluation: suites, the classifiers that judge media (oracles and judges), and reports."""

from dataclasses import dataclass
from pathlib import Path

LENGTHS = (512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class Settings:
    """What a suite is run with.

    Attributes:
        model: "nano" or a model folder.
        out: folder of ``results.json`` and ``report.html``.
        count: conversations, or windows of text and passkeys a length.
        seed: streams of scenes, words and noise.
        data: own_data: a manifest; long_context: a folder of texts.
        judge: own_data: a folder of judges.
        lengths: long_context: tokens of a row.
    """

    model: str
    out: Path
    count: int
    seed: int = 0
    data: Path | None = None
    judge: Path | None = None
    lengths: tuple[int, ...] = LENGTHS


@dataclass(frozen=True)
class Suite:
    """A suite of ``nextgpt-lite evaluate``.

    Attributes:
        run: "module:function" with the signature ``(settings) -> text to print``. A string, so that listing
            the suites imports none of them.
        full_count: ``--count`` of a full run.
        options: the options that only some suites have.
    """

    run: str
    full_count: int
    options: frozenset[str] = frozenset()


SUITES = {
    "any_to_any": Suite("evaluation.toybox.suite:run", 320),
    "own_data": Suite("evaluation.own_data:run", 320, frozenset({"data", "judge"})),
    "long_context": Suite("evaluation.long_context:run", 20, frozenset({"data", "lengths"})),
}
