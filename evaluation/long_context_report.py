"""Figures of the suite ``long_context`` as a table in the terminal and as a page with two charts."""

from __future__ import annotations

import html
from typing import Any

from evaluation.chart import line_chart
from evaluation.report import STYLE
from evaluation.scoring import wilson

PASSKEY_LENGTHS, LEAST_PASSKEY = ("4096", "8192"), 0.9
NAMES = {"perplexity": "perplexity (lower is better)", "passkey": "passkeys told"}


def verdicts(metrics: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """(what, value, threshold, held) of the extended model; nothing where there is none or but one length.

    Its perplexity at the longest length must be no worse than at the shortest, its own there and the base's.
    """
    if "after" not in metrics or len(metrics["after"]["perplexity"]) < 2:
        return []
    after = metrics["after"]
    shortest, *_, longest = after["perplexity"]
    value = after["perplexity"][longest]
    rows = []
    for name in ("before", "after"):
        least = metrics[name]["perplexity"][shortest]
        rows.append((f"perplexity at {longest} tokens; at {shortest} {name} extension", value, least, value <= least))
    for length in PASSKEY_LENGTHS:
        if length in after["passkey"]:
            share = after["passkey"][length]
            rows.append((f"passkeys told at {length} tokens", share, LEAST_PASSKEY, share >= LEAST_PASSKEY))
    return rows


def table_text(results: dict[str, Any]) -> str:
    """Lengths across, figures before and after extension down, then each figure beside its threshold."""
    metrics = results["metrics"]
    lengths = list(metrics["before"]["perplexity"])
    lines = [f"suite long_context, seed {results['seed']}, count {results['count']}", ""]
    lines.append("tokens".ljust(34) + "".join(f"{length:>9}" for length in lengths))
    for figure, name in NAMES.items():
        for when, measured in metrics.items():
            values = "".join(f"{measured[figure][length]:>9.3f}" for length in lengths)
            lines.append(f"{name}, {when}".ljust(34) + values)
    lines.append("")
    for what, value, threshold, held in verdicts(metrics):
        lines.append(f"{what:<52}{value:>9.3f}  of {threshold:<7.4g} {'ok' if held else 'MISSED'}")
    return "\n".join(lines)


def report_html(results: dict[str, Any]) -> str:
    """The page as a string; it needs no other file and no network."""
    metrics = results["metrics"]
    about = (
        f"<p>model <code>{html.escape(results['model']['hash'])[:16]}</code>, data <code>"
        f"{html.escape(results['data']['hash'])[:16]}</code> ({html.escape(', '.join(results['texts']))}), seed "
        f"{results['seed']}, count {results['count']}</p>"
    )
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Long context</title><style>{STYLE}</style>",
        "<h1>Long context, before and after extension</h1>",
        about,
        *(chart(metrics, figure) for figure in NAMES),
        figures_html(metrics, results["count"]),
        targets_html(metrics),
    ]
    return "\n".join(parts) + "</html>\n"


def chart(metrics: dict[str, Any], figure: str) -> str:
    """A line for each model, lengths across."""
    lines = {
        when: [(int(length), value) for length, value in measured[figure].items()] for when, measured in metrics.items()
    }
    return line_chart(NAMES[figure], lines, logarithmic=figure == "perplexity")


def figures_html(metrics: dict[str, Any], count: int) -> str:
    """Every figure; passkeys with their 95 % interval (Wilson's) and the depths of the keys that were not told."""
    rows = []
    for when, measured in metrics.items():
        for length, perplexity in measured["perplexity"].items():
            share, missed = measured["passkey"][length], measured["missed_depths"][length]
            low, high = wilson(count - len(missed), count)
            depths = ", ".join(f"{depth:.2f}" for depth in missed)
            rows.append(
                f"<tr><td>{when}<td class=number>{length}<td class=number>{perplexity:.3f}<td class=number>{share:.2f}"
                f"<td>{low:.2f} to {high:.2f}<td>{depths}"
            )
    head = "<tr><th>extension<th>tokens<th>perplexity<th>passkeys told<th>95 % interval<th>depths not told"
    return f"<table>{head}{''.join(rows)}</table>"


def targets_html(metrics: dict[str, Any]) -> str:
    rows = [
        f"<tr><td>{html.escape(what)}<td class=number>{value:.3f}<td class=number>{threshold:.3f}"
        f"<td class={'pass' if held else 'fail'}>{'&#10003;' if held else '&#10007;'}"
        for what, value, threshold, held in verdicts(metrics)
    ]
    return f"<table><tr><th>figure<th>measured<th>target<th>{''.join(rows)}</table>" if rows else ""
