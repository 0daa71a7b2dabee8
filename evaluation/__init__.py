"""Evaluation: suites, the classifiers that judge media (oracles and judges), and reports."""

from dataclasses import dataclass
from pathlib import Path

#: Seeds from here on are for figures that are reported; what is tuned is tuned on those below.
FIRST_TEST_SEED = 100
LENGTHS = (512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class Settings:
    """What a suite is run with."""

    model: str  #: "nano" or a model folder
    out: Path  #: folder of ``results.json`` and ``report.html``
    count: int  #: conversations, percent of the full suite, captions, or windows and passkeys a length
    seed: int = 0  #: streams of scenes, words and noise
    data: Path | None = None  #: own_data: a manifest; long_context: a folder of texts
    judge: Path | None = None  #: own_data: a folder of judges
    language_judge: str | None = None  #: own_data: MODEL@URL of a language model that judges
    features: str | None = None  #: own_data, generation: by which media are compared (evaluation.metrics.features)
    against: str | None = None  #: drawing: another model, compared case by case
    lengths: tuple[int, ...] = LENGTHS  #: long_context: tokens of a row; needles: media of a message
    part: tuple[int, int] = (0, 1)  #: (i, n): answer the i-th of n parts of the conversations, and judge nothing

    @property
    def is_part(self) -> bool:
        return self.part != (0, 1)


@dataclass(frozen=True)
class Suite:
    """A suite of ``nextgpt-lite evaluate``."""

    #: "module:function", ``(settings) -> text to print``. A string, so that listing the suites imports none of them.
    run: str
    full_count: int  #: ``--count`` of a full run
    options: frozenset[str] = frozenset()  #: those that only some suites have
    in_parts: bool = False  #: whether several processes can answer its conversations
    lengths: tuple[int, ...] = LENGTHS  #: ``--lengths`` of a full run, where the suite has them


SUITES = {
    "any_to_any": Suite("evaluation.toybox.suite:run", 320, in_parts=True),
    "things": Suite("evaluation.things.suite:run", 100, in_parts=True),
    "drawing": Suite("evaluation.toybox.drawing:run", 500, frozenset({"against"})),
    "own_data": Suite(
        "evaluation.own_data:run", 320, frozenset({"data", "judge", "language_judge", "features"}), in_parts=True
    ),
    "captioning": Suite("evaluation.benchmarks.captioning:run", 1000, frozenset({"data"}), in_parts=True),
    "vqa": Suite("evaluation.benchmarks.questions:run_vqa", 1000, frozenset({"data"}), in_parts=True),
    "choices": Suite("evaluation.benchmarks.questions:run_choices", 1000, frozenset({"data"}), in_parts=True),
    "hallucination": Suite(
        "evaluation.benchmarks.questions:run_hallucination", 1000, frozenset({"data"}), in_parts=True
    ),
    "needles": Suite(
        "evaluation.benchmarks.needles:run", 40, frozenset({"lengths"}), in_parts=True, lengths=(2, 5, 10, 20, 50)
    ),
    "routing": Suite("evaluation.benchmarks.routing:run", 500, frozenset({"data"})),
    "retrieval": Suite("evaluation.benchmarks.embeddings:run_retrieval", 200, frozenset({"data"})),
    "zero_shot": Suite("evaluation.benchmarks.embeddings:run_zero_shot", 200, frozenset({"data"})),
    "generation": Suite("evaluation.benchmarks.generation:run", 200, frozenset({"data", "features"})),
    "long_context": Suite("evaluation.long_context:run", 20, frozenset({"data", "lengths"})),
}
