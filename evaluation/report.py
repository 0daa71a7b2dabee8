"""Results as JSON, as an HTML page, and as text to print: the templates of this package, filled by jinja2."""

import base64
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import soundfile
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from data.atomic import write_json, write_text
from data.modalities import MODALITIES
from evaluation import FIRST_TEST_SEED
from evaluation.statistics import axes, flat, wilson

#: What stands beside figures in the metrics of a suite.
BESIDE = ("intervals", "n")


@dataclass(frozen=True)
class ShownConversation:
    """A conversation in a report: ``messages`` as ``AnyToAny.chat`` takes them, the last one the model's.

    ``right`` is None where nothing judges the reply.
    """

    title: str
    messages: list[dict[str, Any]]
    right: bool | None
    expected: str


def write_report(out: Path, template: str, results: dict[str, Any], **values: Any) -> str:
    """Write ``results.json`` and ``report.html`` into ``out``, both atomically; the text to print.

    ``template`` names an .html and a .txt file of evaluation/templates, which are filled with ``results`` and
    ``values``.
    """
    page, text = (render(f"{template}.{kind}", results=results, **values) for kind in ("html", "txt"))
    write_json(out / "results.json", results, ensure_ascii=False)
    write_text(out / "report.html", page)
    return text.rstrip()


def render(template: str, **values: Any) -> str:
    """A template of this package, filled; values are escaped in HTML."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: not (name or "").endswith(".txt"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "axes": axes,
        "cell_interval": cell_interval,
        "figure_lines": figure_lines,
        "flat": flat,
        "interval": lambda share, total: wilson(round(share * total), total),
        "number": lambda value: "-" if value is None else f"{value:.3f}",
        "percent": lambda share: "-" if share is None else f"{100 * share:.1f}",
        "preview": preview,
        "seed_range": lambda seed: "a test seed" if seed >= FIRST_TEST_SEED else "a development seed",
        "wav": wav,
    }
    return environment


def figure_lines(metrics: dict[str, Any]) -> str:
    """Every figure on a line of its own, with its 95 % interval and of how many it is, where they are known."""
    lines = []
    for name, value in flat({key: own for key, own in metrics.items() if key not in BESIDE}):
        low_high = metrics.get("intervals", {}).get(name)
        shown = "       -" if value is None else f"{value:8.3f}"
        interval = f"  {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
        count = f"  n {metrics['n'][name]}" if name in metrics.get("n", {}) else ""
        lines.append(f"{name:<52}{shown}{interval:<20}{count}".rstrip())
    return "\n".join(lines)


def cell_interval(cell: dict[str, Any]) -> str:
    """The 95 % interval of a cell's thing accuracy in percent, "84-100"; empty where it was not measured."""
    if cell.get("thing") is None:
        return ""
    low, high = wilson(round(cell["thing"] * cell["samples"]), cell["samples"])
    return f"{100 * low:.0f}-{100 * high:.0f}"


def preview(part: dict[str, Any]) -> str:
    """A medium as an image, a data URI of PNG."""
    written = io.BytesIO()
    Image.fromarray(MODALITIES[part["type"]].preview(part["array"])).save(written, "PNG")
    return _data_uri(written.getvalue(), "image/png")


def wav(part: dict[str, Any]) -> str:
    """Audio as a data URI of 16-bit WAV."""
    modality, written = MODALITIES[part["type"]], io.BytesIO()
    rate = round(part.get("rate") or modality.rate or 0)
    soundfile.write(written, part["array"], rate, format="WAV", subtype="PCM_16")
    return _data_uri(written.getvalue(), modality.mime)


def _data_uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
