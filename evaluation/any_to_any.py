"""The suite ``any_to_any``: every medium in, every medium out, judged by oracles and by the grammar.

    nextgpt-lite evaluate any_to_any --count 320 --seed 7

Writes ``results.json`` and ``report.html``. Scenes, words and noise come from streams that training never saw.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data import toybox
from data.toybox import tag_caption
from decoders.base import Decoder
from evaluation.cases import FULL, GENERATED, mixed, plan
from evaluation.conversations import Progress, Verdict, hold, judge, look, produced, talk_of
from evaluation.oracles import Oracle, accuracy
from evaluation.report import Talk, write_report, write_results
from evaluation.scoring import Tally, agreement, routing, tally_attributes
from evaluation.timing import cold_first_reply, warm_reply
from nextgpt_lite import AnyToAny

SCORED = ("thing", "colour", "motion", "pitch")  # the heads that an oracle's single figure is the least of
ORACLE_SCENES = 1000
SHOWN, MISSES_SHOWN = 36, 40


def evaluate(model: AnyToAny, count: int, seed: int, out: Path, progress: Progress | None = None) -> dict:
    """Run the suite on an ``AnyToAny`` model and write its files into ``out``; the results, as in results.json."""
    oracles = {modality: Oracle.from_pretrained(modality) for modality in GENERATED}
    conversations = hold(model, plan(count, seed), progress=progress)
    look(oracles, conversations, progress)
    verdicts = [judge(held) for held in conversations]
    metrics = measure(verdicts)
    metrics["gold_caption_gap"] = gold_caption_gaps(model, oracles, verdicts, progress)
    renders = max(50, round(ORACLE_SCENES * count / FULL))
    heads = {modality: accuracy(oracle, mixed(seed, 90), renders) for modality, oracle in oracles.items()}
    metrics["oracle"] = {m: min(share for name, share in heads[m].items() if name in SCORED) for m in heads}
    metrics["oracle_heads"] = heads
    metrics["seconds"] = {modality: warm_reply(model, modality) for modality in GENERATED}
    metrics["seconds"]["cold_first_reply"] = cold_first_reply(str(model.folder))
    results = {
        "suite": "any_to_any",
        "model": {"hash": model.hash},
        "data": {"hash": data_hash()},
        "seed": seed,
        "count": count,
        "metrics": metrics,
    }
    write_results(results, out)
    write_report(results, choose_talks(verdicts, seed), out)
    return results


def measure(verdicts: list[Verdict]) -> dict:
    """All figures that follow from the conversations; shares of what was asked, with intervals beside."""
    matrix = {group: cells(of_group(verdicts, group)) for group in ("matrix", "chinese", "points")}
    tallies = {
        "held_out_pairs": share(
            v.attributes["thing"] and v.attributes["colour"] for v in of_group(verdicts, "held_out_pairs")
        ),
        "motion": share(v.attributes["motion"] for v in of_group(verdicts, "motion")),
        "edits": share(both_right(v) for v in of_group(verdicts, "edits")),
        "edits_everything": share(v.right for v in of_group(verdicts, "edits")),
        "long_edits": share(both_right(v) for v in of_group(verdicts, "long_edits")),
        "unknown_declined": share(v.declined for v in of_group(verdicts, "unknown")),
        "unknown_words_declined": share(v.declined for v in of_group(verdicts, "unknown_words")),
        "known_declined": share(v.declined for v in verdicts if not v.held.case.expected["unknown"]),
    }
    tallies["routing_precision"], tallies["routing_recall"] = routing(
        (asked, produced(reply))
        for v in verdicts
        for asked, reply in zip(v.held.case.asked, v.held.replies, strict=True)
    )
    for group in ("recalls", "chain", "ask", "count", "compare", "combine", "multi", "own", "talk"):
        tallies[group] = share(v.right for v in of_group(verdicts, group))
    tallies |= unknown_by_source(verdicts)
    pooled = {
        name: share(v.attributes["thing"] for v in of_group(verdicts, group))
        for name, group in (("mean_thing", "matrix"), ("chinese_mean", "chinese"))
    }
    things = [cell["thing"] for cell in matrix["matrix"].values()]
    chinese = [cell["thing"] for cell in matrix["chinese"].values()]
    return {
        "matrix": matrix["matrix"] | matrix["points"],
        "mean_thing": sum(things) / len(things),
        "min_thing": min(things),
        "colour_image_to_image": matrix["matrix"]["image->image"].get("colour"),
        "colour_text_to_image": matrix["matrix"]["text->image"].get("colour"),
        "chinese": matrix["chinese"],
        "chinese_mean": sum(chinese) / len(chinese),
        **{name: tally.share for name, tally in tallies.items()},
        "intervals": {name: tally.interval for name, tally in (tallies | pooled).items() if tally.total},
    }


def of_group(verdicts: Iterable[Verdict], group: str) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.held.case.group == group]


def share(answers: Iterable[bool]) -> Tally:
    """The answers as a tally."""
    tally = Tally()
    for right in answers:
        tally.add(right)
    return tally


def cells(verdicts: list[Verdict]) -> dict[str, dict[str, float]]:
    """{"text->image": {"thing": share, "colour": share, ..., "samples": n}}; an attribute counts where it was asked."""
    grouped: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        grouped.setdefault(verdict.held.case.cell, []).append(verdict)
    return {
        cell: {name: t.right / t.total for name, t in tally_attributes(v.attributes for v in members).items()}
        | {"samples": len(members)}
        for cell, members in grouped.items()
    }


def both_right(verdict: Verdict) -> bool:
    """After an edit: the thing and the attribute that was changed; a changed thing, and what it had to keep."""
    changed = verdict.held.case.expected["changed"]
    kept = [name for name in verdict.attributes if name != "thing"] if changed == "thing" else [changed]
    return verdict.attributes["thing"] and all(verdict.attributes[name] for name in kept[:1])


def unknown_by_source(verdicts: list[Verdict]) -> dict[str, Tally]:
    """Declines of each kind of outside medium: made-up ones by modality, and gradio's photographs and recordings."""
    members = of_group(verdicts, "unknown")
    sources = sorted({v.held.case.cell for v in members})
    return {f"unknown_{source}": share(v.declined for v in members if v.held.case.cell == source) for source in sources}


def gold_caption_gaps(
    model: AnyToAny, oracles: dict[str, Oracle], verdicts: list[Verdict], progress: Progress | None
) -> dict[str, float]:
    """Thing accuracy of text -> medium minus that of the same decoder given the same request's own tag caption.

    Below zero: what the language model's signal tokens lose on the way to the decoder.
    """
    gaps = {}
    for number, modality in enumerate(GENERATED):
        members = [v for v in of_group(verdicts, "matrix") if v.held.case.cell == f"text->{modality}"]
        wanted = [v.held.case.wanted[modality] for v in members]
        media = decode_captions(model.decoders[modality], wanted, [v.held.case.seed for v in members])
        seen = oracles[modality].predict(media)
        gold = share(agreement(w, s)["thing"] for w, s in zip(wanted, seen, strict=True))
        own = share(v.attributes["thing"] for v in members)
        gaps[modality] = (own.right - gold.right) / gold.total
        if progress:
            progress("gold captions", number + 1, len(GENERATED))
    return gaps


def decode_captions(decoder: Decoder, wanted: list[dict], seeds: list[int], batch_size: int = 8) -> list[np.ndarray]:
    """One medium for each set of attributes, from the decoder's own text encoder."""
    media = []
    for start in range(0, len(wanted), batch_size):
        captions = [tag_caption(attributes) for attributes in wanted[start : start + batch_size]]
        media += decoder.decode(decoder.encode_caption(captions), seeds=seeds[start : start + batch_size])
    return media


def choose_talks(verdicts: list[Verdict], seed: int) -> list[Talk]:
    """Some conversations of every group for the gallery, and misses; which ones, chance decides."""
    rng = random.Random(seed)
    shuffled = rng.sample(verdicts, len(verdicts))
    right, wrong = ([v for v in shuffled if v.right is wanted] for wanted in (True, False))
    groups: dict[str, list[Verdict]] = {}
    for verdict in right:
        groups.setdefault(f"{verdict.held.case.group} {verdict.held.case.cell}", []).append(verdict)
    rounds = [members[turn] for turn in range(2) for members in groups.values() if turn < len(members)]
    return [talk_of(verdict) for verdict in (*rounds[:SHOWN], *wrong[:MISSES_SHOWN])]


def data_hash() -> str:
    """sha256 of Toybox's source: its world, renderers, words and dialogues."""
    digest = hashlib.sha256()
    for path in sorted(Path(toybox.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
