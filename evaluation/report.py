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
        "flat": flat,
        "interval": lambda share, total: wilson(round(share * total), total),
        "number": lambda value: "-" if value is None else f"{value:.3f}",
        "percent": lambda share: "-" if share is None else f"{100 * share:.1f}",
        "preview": preview,
        "seed_range": lambda seed: "a test seed" if seed >= FIRST_TEST_SEED else "a development seed",
        "wav": wav,
    }
    return environment


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
