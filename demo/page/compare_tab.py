"""The tab "Compare": one message to two models, or to two settings of one model; both answers stream side by side."""

from __future__ import annotations

import html
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import gradio as gr

from data.text_files import check_texts
from demo.engine.events import Failed, Finished
from demo.engine.job import Job, QueueFull
from demo.engine.model_pool import ModelPool
from demo.page.labels import QUIET, Labels
from demo.page.streamed_reply import UPDATE_SECONDS, Card, StreamedReply
from demo.page.traffic import own_files_only
from demo.page.turns import save_for_browser
from demo.page.visitors import Visitor
from demo.texts import render, translate
from nextgpt_lite.conversation_media import ACCEPTED, CHAT_ERRORS, attach

if TYPE_CHECKING:
    from nextgpt_lite import ReplyMedium

NAMES = ("A", "B")
#: The numbers of a side: name, least, greatest, step, and what they are at first on each side.
NUMBERS = (
    ("seed", 0, 2**31 - 1, 1, (0, 1)),
    ("steps", 0, 50, 1, (0, 0)),
    ("guidance", 0, 10, 0.5, (0, 0)),
    ("temperature", 0, 2, 0.1, (0, 0)),
)
#: The longest message, in characters, and the most files of one.
MAX_TEXT, MAX_FILES = 4000, 16
#: Folders of comparisons, in that of the conversation that is open meanwhile.
FOLDER = "compare-"
#: The event that streams: as many at a time as there may be visitors who watch one.
STREAM: dict[str, Any] = {**QUIET, "concurrency_limit": 32, "concurrency_id": "compare"}
Shown = tuple[Any, ...]  # the text box, the message, the two answers


@dataclass(eq=False)
class Side:
    """An answer: who gives it and with which settings. ``settings`` are keywords of the engine's ``submit``."""

    name: str
    model: str
    settings: dict[str, Any]
    streamed: StreamedReply

    @property
    def cards(self) -> list[Card]:
        return [card for _, card in sorted(self.streamed.cards.items())]

    @property
    def finished(self) -> Finished | None:
        return self.streamed.last if isinstance(self.streamed.last, Finished) else None

    @property
    def failure(self) -> str:
        return self.streamed.last.sentence if isinstance(self.streamed.last, Failed) else ""


class CompareTab:
    """A model and its settings on either side, a text box, and the two answers."""

    def __init__(self, pool: ModelPool, visitor: gr.State, labels: Labels) -> None:
        self.pool, self.visitor, self.labels = pool, visitor, labels
        self.settings: list[Any] = []  # model, then NUMBERS, of A and then of B
        self._running: WeakKeyDictionary[Visitor, list[Side]] = WeakKeyDictionary()

    def build(self) -> None:
        """Components, in the tab that is open."""
        lead = gr.HTML(apply_default_css=False)
        self.labels.add(lead, value=lambda language: f'<p class="lead">{translate(language, "compare_line")}</p>')
        box = gr.MultimodalTextbox(
            file_count="multiple", file_types=list(ACCEPTED), sources=["upload"], show_label=False, container=False,
            max_plain_text_length=MAX_TEXT, elem_id="compare-box",
        )  # fmt: skip
        self.box = self.labels.add(own_files_only(box), label="message_label", placeholder="compare_message")
        self.message = gr.HTML(elem_id="compare-message", apply_default_css=False)
        with gr.Row(elem_id="compare-sides"):
            self.answers = [self._build_side(number) for number in range(len(NAMES))]

    def wire(self) -> None:
        shown = [self.box, self.message, *self.answers]
        self.box.submit(self.compare, [self.visitor, self.box, *self.settings], shown, **STREAM)
        self.box.stop(self.stop, self.visitor, None, **QUIET)

    def compare(self, visitor: Visitor, value: dict[str, Any] | None, *settings: Any) -> Iterator[Shown]:
        """Send a message to both sides and show their answers while they come. ``settings`` are of
        :attr:`settings`."""
        if visitor is None:  # the page does not know yet who this is
            return
        language, value = visitor.language, value or {}
        text, files = (value.get("text") or "").strip()[:MAX_TEXT], list(value.get("files") or [])[:MAX_FILES]
        try:
            if not text and not files:
                raise ValueError(translate(language, "empty_message"))
            self.stop(visitor)
            folder = new_folder(visitor)
            content, attached = _read(text, files, folder)
            message = render("compare_message", language, text=text, files=attached)
            yield gr.MultimodalTextbox(value=None, submit_btn=False, stop_btn=True), message, "", ""
            sides = self._submit(content, settings, folder)
        except (*CHAT_ERRORS, QueueFull) as error:
            gr.Warning(html.escape(str(error)), title=translate(language, "did_not_work"))
            yield _box(value), "", "", ""
            return
        self._running[visitor] = sides
        answers: Sequence[str] = ("", "")
        for answers in self._watch(sides, language):
            yield gr.skip(), gr.skip(), *answers
        yield _box(), gr.skip(), *answers

    def stop(self, visitor: Visitor) -> None:
        """Stop both answers; what is there of them stays."""
        for side in self._running.pop(visitor, ()):
            side.streamed.job.cancel()

    def _build_side(self, number: int) -> gr.HTML:
        """The settings of one side, and where its answer comes."""
        names = list(self.pool.folders)
        name, model = NAMES[number], names[min(number, len(names) - 1)]
        with gr.Column(elem_classes="compare-side", min_width=280):
            with gr.Row(elem_classes="compare-settings"):
                picker = gr.Dropdown(names, value=model, elem_id=f"compare-model-{name}", scale=2, min_width=110)
                self.settings.append(self.labels.add(picker, label=lambda language: _of_side(language, name)))
                for key, least, greatest, step, first in NUMBERS:
                    start = 0 if len(names) > 1 else first[number]  # of two models all else is alike at first
                    field = gr.Number(
                        start, minimum=least, maximum=greatest, step=step, elem_id=f"compare-{key}-{name}",
                        min_width=64, precision=0 if step == 1 else None,
                    )  # fmt: skip
                    self.settings.append(self.labels.add(field, label=key))
            return gr.HTML(elem_id=f"compare-answer-{name}", elem_classes="compare-answer", apply_default_css=False)

    def _submit(self, content: list[dict[str, Any]], settings: Sequence[Any], folder: Path) -> list[Side]:
        """Both requests, before either is answered. QueueFull or ValueError if one is refused, and then neither is."""
        messages, jobs, each = [{"role": "user", "content": content}], [], len(NUMBERS) + 1
        chosen = [(settings[start], _settings(settings[start + 1 : start + each])) for start in (0, each)]
        try:
            for model, own in chosen:
                jobs.append(self.pool.engine(model).submit(messages, previews=True, **own))
        except Exception:
            for job in jobs:
                job.cancel()
            raise
        return [
            Side(name, model, own, _streamed(job, folder / name))
            for name, job, (model, own) in zip(NAMES, jobs, chosen, strict=True)
        ]

    def _watch(self, sides: Sequence[Side], language: str) -> Iterator[list[str]]:
        """Both answers whenever one of them has changed, and at their end."""
        before: list[str] = []
        while True:
            over = all(side.streamed.last is not None for side in sides)
            answers = [self._answer(side, language) for side in sides]
            if answers != before:
                yield answers
            if over:
                return
            before = answers
            time.sleep(UPDATE_SECONDS)

    def _answer(self, side: Side, language: str) -> str:
        waiting = "…" if self.pool.ready(side.model) else translate(language, "loading")
        return render("compare_answer", language, side=side, waiting=waiting)


def new_folder(visitor: Visitor) -> Path:
    """A folder for the media of a comparison; those of the ones before it go."""
    place = visitor.current.folder
    for old in place.glob(f"{FOLDER}*"):
        shutil.rmtree(old, ignore_errors=True)
    folder = place / f"{FOLDER}{secrets.token_hex(8)}"
    folder.mkdir()
    return folder


def _read(text: str, files: Sequence[str], folder: Path) -> tuple[list[dict[str, Any]], list[Path]]:
    """A message as content for the model, and what a browser shows of its files, in ``folder``. MediaError for a file
    that is refused, ValueError for a broken text."""
    check_texts(text)
    parts, shown = [], []
    for number, file in enumerate(files, 1):
        part, path = attach(Path(file), folder, number)
        parts.append(part)
        shown.append(path if path.is_relative_to(folder) else Path(shutil.copy(path, folder)))
    return [*parts, *([{"type": "text", "text": text}] if text else [])], shown


def _streamed(job: Job, stem: Path) -> StreamedReply:
    count = iter(range(1, 1000))

    def save(medium: ReplyMedium) -> tuple[Path, Path]:
        return save_for_browser(medium, stem.with_name(f"{stem.name}-{next(count)}-{medium.modality}"))

    return StreamedReply(job, save, lambda last, cards: None)


def _settings(numbers: Sequence[Any]) -> dict[str, Any]:
    """Values of NUMBERS -> keywords of the engine's ``submit``; 0 steps and guidance are the model's own."""
    seed, steps, guidance, temperature = (float(value or 0) for value in numbers)
    return {"seed": int(seed), "steps": int(steps) or None, "guidance": guidance or None, "temperature": temperature}


def _box(value: Any = None) -> Any:
    """The text box, ready for a message."""
    return gr.MultimodalTextbox(value=value, submit_btn=True, stop_btn=False)


def _of_side(language: str, name: str) -> str:
    return f"{name} · {translate(language, 'model')}"
