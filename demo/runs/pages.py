"""Pages of runs: a list, a page of each run, its report in a frame. They read, and change nothing.

/runs                       the list
/runs/of/ROOT/PATH          a run: ROOT is the number of a folder of --runs, PATH the run's name below it
/runs/report/ROOT/PATH      its report, which may run no script and load nothing
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from data.modalities import MODALITIES
from demo.runs.charts import charts_of, figure, sparkline
from demo.runs.evaluation import EvaluationRun, Evaluations
from demo.runs.folders import PLAN, SAMPLES, RunFolder, RunFolders
from demo.runs.training import TrainingLogs, TrainingRun
from demo.texts import LANGUAGES, TEXTS, read_asset, render, translate

log = logging.getLogger(__name__)
THEMES = ("light", "dark")
ASSETS = {"runs.css": "text/css", "runs.js": "text/javascript"}
#: What a page of ours may do, and what a report may, wherever it came from.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
#: What is read of a report at a time, in bytes.
BLOCK = 2**18
#: The most runs in a list.
MOST_RUNS = 300
#: Text of a duration, and the seconds of the two units in it.
UNITS = (("seconds", 1, 1), ("minutes", 60, 1), ("hours", 3600, 60), ("days", 86_400, 3600))
#: A special token in a text, and the number of a signal token.
SPECIAL, NUMBER = re.compile(r"(<[^<>\s]{1,40}>)"), re.compile(r"_\d+$")
Run = TrainingRun | EvaluationRun


@dataclass(frozen=True)
class View:
    """How a client asks for a page: language and theme, which the page's links keep."""

    language: str
    theme: str  # "" = the browser's
    query: str

    @classmethod
    def of(cls, request: Request) -> View:
        asked = request.query_params
        preferred = "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
        language = asked.get("language", "") if asked.get("language") in LANGUAGES else preferred
        theme = asked.get("theme", "") if asked.get("theme") in THEMES else ""
        kept = {"language": asked.get("language") and language, "theme": theme}
        query = "&".join(f"{name}={value}" for name, value in kept.items() if value)
        return cls(language, theme, query and f"?{query}")


class RunPages:
    """The pages of the runs below some folders. ValueError for one that is no folder."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.folders, self.trainings, self.evaluations = RunFolders(roots), TrainingLogs(), Evaluations()
        self._lock = threading.Lock()  # what was read of a run is kept, and added to

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/runs", self.list),
            Route("/runs/assets/{name}", self.asset),
            Route("/runs/of/{root:int}/{path:path}", self.run),
            Route("/runs/report/{root:int}/{path:path}", self.report),
        ]

    def list(self, request: Request) -> Response:
        """All runs: those that go on first, then the newest."""
        view = View.of(request)
        with self._lock:
            runs = [run for folder in self.folders.found() if (run := self._read(folder))]
            runs.sort(key=lambda run: (run.state != "running", -(run.updated or 0.0)))
            return _page("list", view, runs=runs[:MOST_RUNS], count=len(runs), sparkline=sparkline)

    def run(self, request: Request) -> Response:
        """One run."""
        view, folder = View.of(request), self._find(request)
        with self._lock:
            run = self._read(folder) if folder else None
            if isinstance(run, TrainingRun):
                recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True)
                return _page("training", view, run=run, charts=charts_of(run), recipe=recipe)
            if run is not None:
                return _page("evaluation", view, run=run)
        return _page("missing", view, status=404)

    def report(self, request: Request) -> Response:
        """The report of a run, as it lies there."""
        folder = self._find(request)
        name = folder.report if folder else None
        if folder is None or name is None:
            return PlainTextResponse("there is no such report", status_code=404)
        return StreamingResponse(
            _blocks(folder, name), media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": REPORT_POLICY},
        )  # fmt: skip

    def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            return PlainTextResponse("there is no such file", status_code=404)
        return Response(read_asset(f"runs/{name}"), media_type=ASSETS[name], headers={"Cache-Control": "no-cache"})

    def _find(self, request: Request) -> RunFolder | None:
        return self.folders.find(request.path_params["root"], request.path_params["path"])

    def _read(self, folder: RunFolder) -> Run | None:
        """A run; None, with a line in the log, for one that cannot be read for a reason that nobody thought of."""
        try:
            is_evaluation = folder.report or any(folder.version(name) for name in (PLAN, SAMPLES))
            return self.evaluations.read(folder) if is_evaluation else self.trainings.read(folder)
        except Exception:
            log.exception("the run in %s cannot be shown", folder.folder)
            return None


def _page(template: str, view: View, status: int = 200, **values) -> HTMLResponse:
    functions = (figure, figure_name, duration, address, segments)
    helpers = {function.__name__: function for function in functions}
    page = render(
        f"runs/{template}", view.language, view=view, now=time.time(), languages=LANGUAGES, **helpers, **values
    )
    whole = page.encode("utf-8", "replace")  # names of folders and words of models may hold lone surrogates
    return HTMLResponse(whole, status, {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


def address(folder: RunFolder, what: str = "of") -> str:
    """Where a run is, or its report."""
    return f"/runs/{what}/{folder.root}/{'' if folder.path == '.' else quote(folder.path, errors='surrogateescape')}"


def figure_name(name: str, language: str) -> str:
    """What a figure that was logged is called; one of a medium or of a kind (caption_image, right_edit) by both."""
    known = f"figure_{name}"
    if known in TEXTS:
        return translate(language, known)
    known, _, kind = known.rpartition("_")
    what = translate(language, kind) if kind in MODALITIES else kind
    return f"{translate(language, known)} · {what}" if known in TEXTS else name.replace("_", " ")


def duration(seconds: float, language: str) -> str:
    """A duration as people say it: "40 s", "2 h 5 min"."""
    key, first, second = next((unit for unit in reversed(UNITS) if seconds >= unit[1]), UNITS[0])
    whole = max(0, int(seconds))
    return translate(language, key, first=whole // first, second=whole % first // second)


def segments(text: str) -> list[tuple[str, int]]:
    """A text in pieces: words with 0, and special tokens with how many of a kind (<image_00>, <image_01> ...) follow
    each other."""
    pieces: list[tuple[str, int]] = []
    for piece in filter(None, SPECIAL.split(text)):
        if not SPECIAL.fullmatch(piece):
            pieces.append((piece, 0))
            continue
        kind = NUMBER.sub("", piece[1:-1].strip("|"))
        if pieces and pieces[-1][1] and pieces[-1][0] == kind:
            pieces[-1] = (kind, pieces[-1][1] + 1)
        else:
            pieces.append((kind, 1))
    return pieces


def _blocks(folder: RunFolder, name: str) -> Iterator[bytes]:
    """A file in pieces. It is opened with the first one, so that a client who has gone leaves none open."""
    file = folder.open(name)
    if file is not None:
        with file:
            while block := file.read(BLOCK):
                yield block
