"""The suite ``needles``: one medium among many, asked for by its number: needles in a haystack that are media.

    nextgpt-lite evaluate needles --model nano --lengths 2,5,10,20,50 --count 40 --seed 101

``--lengths`` are numbers of media in one message, ``--count`` questions a length, their depths spread evenly. The media
are images and sounds of Toybox, and none but the one that is asked for shows its thing; a reply is right where it names
that thing and no other. Turns or media that a model leaves out because its context is full count as well, and
are reported.
"""

from collections.abc import Sequence

import numpy as np

from data import toybox
from data.modalities import MODALITIES
from evaluation import Settings
from evaluation.benchmarks.suite import Benchmark, Item, Score, run_items
from evaluation.statistics import Figures, Tally
from evaluation.toybox.cases import stream_seed
from evaluation.toybox.conversations import stated
from nextgpt_lite import AnyToAny, Reply
from nextgpt_lite.any_to_any import set_num_threads

STREAM = 93
#: Modality -> what is said before each medium, and the question at the end.
WORDS = {
    "image": ("Picture {number}:", "What is in picture {number}?"),
    "audio": ("Sound {number}:", "What makes sound {number}?"),
}
DEPTHS = ("first third", "middle third", "last third")


def run(settings: Settings) -> str:
    """Run the suite; the text to print."""
    items = [
        item for length in sorted(set(settings.lengths)) for item in needles(length, settings.count, settings.seed)
    ]
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    return run_items(BENCHMARK, settings, model, items, toybox.source_hash())


def needles(length: int, count: int, seed: int) -> list[Item]:
    """``count`` questions about one of ``length`` media, images and sounds in turn. ValueError for fewer than one."""
    if length < 1:
        raise ValueError(f"--lengths of needles are numbers of media, at least 1, not {length}")
    return [_needle(length, index, count, stream_seed(seed, STREAM) + 1000 * length + index) for index in range(count)]


def _needle(length: int, index: int, count: int, seed: int) -> Item:
    modality = tuple(WORDS)[index % len(WORDS)]
    label, question = WORDS[modality]
    place = min(length - 1, int((index + 0.5) / count * length))
    rng, content = np.random.default_rng(seed), []
    asked = str(rng.choice(toybox.THINGS))
    for number in range(length):
        thing = asked if number == place else str(rng.choice([each for each in toybox.THINGS if each != asked]))
        scene = toybox.random_scene(rng, "all").with_(thing=thing, count=1)
        content.append({"type": "text", "text": label.format(number=number + 1)})
        content.append(
            {"type": modality, "array": toybox.render(scene, modality), "rate": MODALITIES[modality].rate}
        )  # fmt: skip
    content.append({"type": "text", "text": question.format(number=place + 1)})
    depth = DEPTHS[(6 * place + 3) // (2 * length)]  # by its middle: of two media, the second is in the last third
    meta = {"category": f"{length} {modality}", "length": length, "modality": modality, "depth": depth}
    return Item([{"role": "user", "content": content}], [asked], meta, seed)


def score(items: Sequence[Item], replies: Sequence[Reply]) -> list[Score]:
    """Whether a reply names the thing that was asked for, and whether the whole message was read."""
    return [
        Score({"right": stated(reply.text).get("thing") == item.references[0], "read": not reply.dropped_turns})
        for item, reply in zip(items, replies, strict=True)
    ]


def figures(items: Sequence[Item], scored: Sequence[Score]) -> Figures:
    """Share right by number of media, by modality and depth."""
    found = Figures()
    for names in (("length",), ("length", "modality"), ("length", "depth")):
        keys = [".".join(str(item.meta[name]) for name in names) for item in items]
        for key in dict.fromkeys(keys):
            own = [row for row, each in zip(scored, keys, strict=True) if each == key]
            found.share(f"right.{key}", Tally.of(row.right["right"] for row in own))
    found.share("read", Tally.of(row.right["read"] for row in scored))
    found.value("chance", 1 / len(toybox.THINGS), len(items))
    return found


BENCHMARK = Benchmark("needles", lambda records: iter(()), score, figures, "nothing: its media are Toybox's")
