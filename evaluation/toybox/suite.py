"""The suite ``any_to_any``: every medium in, every medium out, judged by oracles and by Toybox's grammar.

    nextgpt-lite evaluate any_to_any --count 320 --seed 7

Writes ``results.json`` and ``report.html``. Scenes, words and noise come from streams that training never uses.
"""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from data import toybox
from evaluation import Settings
from evaluation.conversations import answered
from evaluation.report import ShownConversation, write_report
from evaluation.samples import write_verdicts
from evaluation.seconds import cold_first_reply, warm_reply
from evaluation.statistics import Tally, generated, routing, verdicts
from evaluation.toybox.cases import FULL_COUNT, GENERATED, plan, stream_seed
from evaluation.toybox.checks import gold_caption_gaps, judge_figures, least_right
from evaluation.toybox.conversations import Judgement, judge, readings, score_media, shown_conversation
from evaluation.toybox.panel import identities
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import set_num_threads

#: metric -> (the least value, or for seconds the most; how it is printed)
TARGETS: dict[str, tuple[float, str]] = yaml.safe_load(
    Path(__file__).with_name("targets.yaml").read_text(encoding="utf-8")
)
REQUESTS = {
    "image": ("draw a red bell", "a small blue boat at the top left, please", "draw two green frogs"),
    "audio": ("play a dog", "let me hear a fast clock", "play a low drum, twice"),
    "video": ("make a video of a yellow bee moving left", "film a pink car", "a video of a spinning purple phone"),
}


POINTS = "matrix.points->text.thing"  # a cell that has a target of its own
JUDGED_RENDERS = 1000  # of the world itself, in a full run, to see how far the judges can be trusted
MAX_SHOWN, MAX_MISSES_SHOWN = 36, 40
#: Groups of cases whose metric is the share of right replies.
PLAIN_GROUPS = (
    "recalls",
    "chain",
    "ask",
    "count",
    "compare",
    "combine",
    "multi",
    "own",
    "talk",
    "free",
    "free_chinese",
)


def run(settings: Settings) -> str:
    """Run the suite and write its files; the table to print."""
    model, count, seed = set_num_threads(AnyToAny.from_pretrained(settings.model)), settings.count, settings.seed
    runs = answered(settings, "any_to_any", model, plan(count, seed), data=toybox.source_hash())
    if settings.is_part:
        return ""
    score_media(runs)
    judgements = [judge(run) for run in runs]
    write_verdicts(settings.out, [verdict_of(judgement) for judgement in judgements])
    metrics = measure(judgements)
    metrics["gold_caption_gap"] = gold_caption_gaps(model, judgements)
    renders = max(50, round(JUDGED_RENDERS * count / FULL_COUNT))
    metrics["judges"] = judge_figures(stream_seed(seed, 90), renders)
    metrics["judge"] = {name: least_right(own) for name, own in metrics["judges"].items()}
    metrics["seconds"] = {modality: warm_reply(model, REQUESTS[modality], modality) for modality in GENERATED}
    metrics["seconds"]["cold_first_reply"] = cold_first_reply(str(model.folder))
    results = {
        "suite": "any_to_any",
        "model": {"hash": model.hash},
        "data": {"hash": toybox.source_hash()},
        "judges": identities(),
        "seed": seed,
        "count": count,
        "metrics": metrics,
    }
    shown = choose_conversations(judgements, seed)
    return write_report(settings.out, "toybox", results, verdicts=verdicts(metrics, TARGETS), conversations=shown)


def measure(judgements: list[Judgement]) -> dict[str, Any]:
    """All metrics that follow from the conversations; shares of what was requested, with intervals beside."""
    groups: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        groups[judgement.case.group].append(judgement)
    matrix, chinese, points = (cells(groups[name]) for name in ("matrix", "chinese", "points"))
    tallies = {
        "held_out_pairs": Tally.of(j.attributes["thing"] and j.attributes["colour"] for j in groups["held_out_pairs"]),
        "motion": Tally.of(j.attributes["motion"] for j in groups["motion"]),
        "edits": Tally.of(edit_right(j) for j in groups["edits"]),
        "edits_everything": Tally.of(j.right for j in groups["edits"]),
        "long_edits": Tally.of(edit_right(j) for j in groups["long_edits"]),
        "unknown_declined": Tally.of(j.declined for j in groups["unknown"]),
        "unknown_words_declined": Tally.of(j.declined for j in groups["unknown_words"]),
        "outside_declined": Tally.of(j.declined for j in groups["outside"]),
        "outside_chinese_declined": Tally.of(j.declined for j in groups["outside_chinese"]),
        "free_thing": Tally.of(j.attributes["thing"] for j in groups["free"]),
        "free_routed": Tally.of(routed(j) for j in groups["free"]),
        "free_chinese_routed": Tally.of(routed(j) for j in groups["free_chinese"]),
        "one_thing": Tally.of(j.attributes["count"] for j in judgements if asks_one(j)),
        "known_declined": Tally.of(j.declined for j in judgements if not j.case.expected["unknown"]),
    }
    tallies["routing_precision"], tallies["routing_recall"] = routing(
        (requested, generated(reply))
        for j in judgements
        for requested, reply in zip(j.case.requested, j.run.replies, strict=True)
    )
    tallies |= {name: Tally.of(j.right for j in groups[name]) for name in PLAIN_GROUPS}
    for source in sorted({j.case.cell for j in groups["unknown"]}):
        tallies[f"unknown_{source}"] = Tally.of(j.declined for j in groups["unknown"] if j.case.cell == source)
    by_cell: dict[str, Tally] = defaultdict(Tally)
    for judgement in groups["matrix"]:
        by_cell[judgement.case.cell].add(judgement.attributes["thing"])
    tallies["min_thing"] = min(by_cell.values(), key=lambda tally: tally.share or 0.0, default=Tally())
    pooled = {
        name: Tally.of(j.attributes["thing"] for j in groups[group_name])
        for name, group_name in (("mean_thing", "matrix"), ("chinese_mean", "chinese"), (POINTS, "points"))
    }
    for source in ("image", "text"):
        own = [j.attributes for j in groups["matrix"] if j.case.cell == f"{source}->image"]
        pooled[f"colour_{source}_to_image"] = Tally.of(each["colour"] for each in own if "colour" in each)
    things, chinese_things = ([cell["thing"] for cell in table.values()] for table in (matrix, chinese))
    return {
        "matrix": matrix | points,
        "mean_thing": sum(things) / len(things),
        "colour_image_to_image": matrix["image->image"].get("colour"),
        "colour_text_to_image": matrix["text->image"].get("colour"),
        "chinese": chinese,
        "chinese_mean": sum(chinese_things) / len(chinese_things),
        **{name: tally.share for name, tally in tallies.items()},
        "intervals": {name: tally.interval for name, tally in (tallies | pooled).items() if tally.total},
        "n": {name: tally.total for name, tally in (tallies | pooled).items() if tally.total},
    }


def verdict_of(judgement: Judgement) -> dict[str, Any]:
    """A case's line of verdicts.jsonl: what is right, and what each judge names in the media of each reply."""
    case = judgement.case
    right = judgement.attributes | {"all": judgement.right}
    return {
        "group": case.group,
        "cell": case.cell,
        "right": right,
        "judges": [r.by_judge for r in readings(judgement.run)],
    }


def routed(judgement: Judgement) -> bool:
    """Whether the last reply holds the media that were requested and no others."""
    return sorted(judgement.case.requested[-1]) == sorted(generated(judgement.run.replies[-1]))


def asks_one(judgement: Judgement) -> bool:
    """Whether one thing is asked for as an image or a video, its number unsaid."""
    return "count" in judgement.attributes and "count" not in judgement.case.expected["attributes"]


def cells(judgements: list[Judgement]) -> dict[str, dict[str, float]]:
    """{"text->image": {"thing": share, ..., "samples": n}}; an attribute counts where it was requested."""
    grouped: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        grouped[judgement.case.cell].append(judgement)
    table: dict[str, dict[str, float]] = {}
    for cell, members in grouped.items():
        tallies: dict[str, Tally] = defaultdict(Tally)
        for name, right in (item for judgement in members for item in judgement.attributes.items()):
            tallies[name].add(right)
        table[cell] = {name: tally.right / tally.total for name, tally in tallies.items()} | {"samples": len(members)}
    return table


def edit_right(judgement: Judgement) -> bool:
    """After an edit: the thing and the attribute that was changed; if the thing was changed, it and one other."""
    changed = judgement.case.expected["changed"]
    kept = [name for name in judgement.attributes if name != "thing"] if changed == "thing" else [changed]
    return judgement.attributes["thing"] and all(judgement.attributes[name] for name in kept[:1])


def choose_conversations(judgements: list[Judgement], seed: int) -> list[ShownConversation]:
    """Some right conversations of every group for the report, and misses; which ones, chance decides."""
    shuffled = random.Random(seed).sample(judgements, len(judgements))
    groups: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in shuffled:
        if judgement.right:
            groups[f"{judgement.case.group} {judgement.case.cell}"].append(judgement)
    right = [members[turn] for turn in range(2) for members in groups.values() if turn < len(members)]
    wrong = [judgement for judgement in shuffled if not judgement.right]
    return [shown_conversation(j) for j in (*right[:MAX_SHOWN], *wrong[:MAX_MISSES_SHOWN])]
