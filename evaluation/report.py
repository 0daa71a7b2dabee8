"""Results as a file, as a page with pictures, and as a table in the terminal."""

from __future__ import annotations

import html
import json
import os
from dataclasses import dataclass
from pathlib import Path

from evaluation.pictures import message_html
from evaluation.scoring import verdicts, wilson

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.35rem .8rem;text-align:left;border-bottom:1px solid #ddd}
td.number{text-align:right;font-variant-numeric:tabular-nums}.heat td{text-align:center;min-width:6.5rem}
.heat small{display:block;opacity:.75}.pass{color:#176f2c}.fail{color:#b3261e}.none{color:#777}
.talk{border:1px solid #ddd;border-radius:12px;padding:.6rem 1rem;margin:.8rem 0}.talk h3{margin:.2rem 0;font-size:1rem}
.user,.assistant{border-radius:10px;padding:.3rem .8rem;margin:.4rem 0;max-width:80%;width:fit-content}
.user{background:#e8f0fe;margin-left:auto}.assistant{background:#f1f1ee}p{margin:.3rem 0}
img{max-width:100%;border-radius:6px}.strip{width:100%}audio{height:2rem}
"""


@dataclass(frozen=True)
class Talk:
    """A conversation worth showing: ``messages`` as ``AnyToAny.chat`` takes them, the last one the model's."""

    title: str
    messages: list[dict]
    right: bool
    wanted: str


def write_results(results: dict, out: Path) -> Path:
    """``results.json``, written aside and then renamed."""
    return write_aside(out / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def write_report(results: dict, talks: list[Talk], out: Path) -> Path:
    """``report.html``: one file that needs no other and no network."""
    return write_aside(out / "report.html", report_html(results, talks))


def write_aside(path: Path, text: str) -> Path:
    """The whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
    return path


def table_text(results: dict) -> str:
    """What the suite prints: the matrix of things, then every figure beside its threshold."""
    lines = [f"suite {results['suite']}, seed {results['seed']}, count {results['count']}", ""]
    matrix = results["metrics"]["matrix"]
    sources, targets = axes(matrix)
    lines.append("thing accuracy".ljust(16) + "".join(f"{'-> ' + target:>11}" for target in targets))
    for source in sources:
        cells = (matrix.get(f"{source}->{target}", {}).get("thing") for target in targets)
        lines.append(source.ljust(16) + "".join(f"{percent(cell):>11}" for cell in cells))
    lines.append("")
    for what, value, threshold, passed in verdicts(results["metrics"]):
        mark = {True: "ok", False: "MISSED", None: "not measured"}[passed]
        lines.append(f"{what:<58}{number(value):>8}  of {threshold:<6g} {mark}")
    return "\n".join(lines)


def axes(matrix: dict) -> tuple[list[str], list[str]]:
    """Sources and targets of the matrix, in the order in which they occur."""
    pairs = [cell.split("->") for cell in matrix]
    return list(dict.fromkeys(source for source, _ in pairs)), list(dict.fromkeys(target for _, target in pairs))


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def report_html(results: dict, talks: list[Talk]) -> str:
    """The page as a string."""
    metrics = results["metrics"]
    missed = [talk for talk in talks if not talk.right]
    shown = [talk for talk in talks if talk.right]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(results['suite'])}</title>",
        f"<style>{STYLE}</style><h1>{html.escape(results['suite'])}</h1>",
        f"<p>model <code>{html.escape(str(results['model']['hash']))[:16]}</code>, data ",
        f"<code>{html.escape(str(results['data']['hash']))[:16]}</code>, seed {results['seed']}, ",
        f"count {results['count']}</p>",
        "<h2>Targets</h2>",
        targets_html(metrics),
        "<h2>Thing accuracy, medium in to medium out</h2>",
        heat_map_html(metrics, "matrix"),
        heat_map_html(metrics, "chinese") if "chinese" in metrics else "",
        "<h2>Everything measured</h2>",
        details_html(metrics),
        "<h2>Conversations</h2>",
        *map(talk_html, shown),
        f"<h2>Misses ({len(missed)} shown)</h2>",
        *map(talk_html, missed),
    ]
    return "\n".join(parts) + "</html>\n"


def own_data_html(results: dict, talks: list[Talk]) -> str:
    """The page of a run on conversations of one's own; a tick means that the media asked for came."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(results['suite'])}</title>"
    about = (
        f"<p>model <code>{html.escape(results['model']['hash'])[:16]}</code>, data <code>"
        f"{html.escape(results['data']['hash'])[:16]}</code>, {results['count']} conversations, "
        f"seed {results['seed']}</p>"
    )
    title = f"<style>{STYLE}</style><h1>{html.escape(results['suite'])} on your own data</h1>"
    talked = "\n".join(map(talk_html, talks))
    return f"{head}{title}{about}{details_html(results['metrics'])}<h2>Conversations</h2>{talked}</html>\n"


def targets_html(metrics: dict) -> str:
    rows = []
    for what, value, threshold, passed in verdicts(metrics):
        kind, mark = {True: ("pass", "&#10003;"), False: ("fail", "&#10007;"), None: ("none", "not measured")}[passed]
        rows.append(
            f"<tr><td>{html.escape(what)}<td class=number>{number(value)}<td class=number>{threshold:g}"
            f"<td class={kind}>{mark}"
        )
    return "<table><tr><th>figure<th>measured<th>target<th>" + "".join(rows) + "</table>"


def heat_map_html(metrics: dict, name: str) -> str:
    """Sources down, targets across; green where all is right. The interval is Wilson's, 95 %."""
    matrix = metrics[name]
    sources, targets = axes(matrix)
    rows = [f"<tr><th>{name}" + "".join(f"<th>&rarr; {target}" for target in targets)]
    for source in sources:
        cells = [heat_cell(matrix.get(f"{source}->{target}")) for target in targets]
        rows.append(f"<tr><th>{source}" + "".join(cells))
    return f"<table class=heat>{''.join(rows)}</table>"


def heat_cell(cell: dict | None) -> str:
    if not cell or cell.get("thing") is None:
        return "<td>"
    share, total = cell["thing"], cell["samples"]
    low, high = wilson(round(share * total), total)
    hue = 130 * max(0.0, (share - 0.5) * 2) ** 2
    others = ", ".join(f"{k} {percent(v)}" for k, v in cell.items() if k not in ("thing", "samples"))
    return (
        f'<td style="background:hsl({hue:.0f} 60% 80%)" title="{html.escape(others)}">{percent(share)}'
        f"<small>{percent(low)} to {percent(high)}, n={total}</small><small>{html.escape(others)}</small>"
    )


def details_html(metrics: dict) -> str:
    """Every figure but the matrices, with the interval where the suite counted one."""
    intervals = metrics.get("intervals", {})
    rows = []
    for name, value in flat(metrics):
        if name.split(".")[0] in ("matrix", "chinese", "intervals"):
            continue
        low, high = intervals.get(name, (None, None))
        spread = f"{percent(low)} to {percent(high)}" if low is not None else ""
        rows.append(f"<tr><td>{html.escape(name)}<td class=number>{number(value)}<td>{spread}")
    return "<table><tr><th>figure<th>value<th>95 % interval" + "".join(rows) + "</table>"


def flat(metrics: dict, prefix: str = "") -> list[tuple[str, float | None]]:
    """Nested figures as ("seconds.image", 0.4) pairs."""
    pairs = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            pairs += flat(value, f"{prefix}{name}.")
        elif not isinstance(value, (list, tuple)):
            pairs.append((prefix + name, value))
    return pairs


def talk_html(talk: Talk) -> str:
    mark = "<span class=pass>&#10003;</span>" if talk.right else "<span class=fail>&#10007;</span>"
    turns = "".join(message_html(message) for message in talk.messages)
    title, wanted = html.escape(talk.title), html.escape(talk.wanted)
    return f"<div class=talk><h3>{mark} {title}</h3>{turns}<small>{wanted}</small></div>"
