"""The tab "Explain": how a reply of the conversation came about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import torch

from demo.engine.model_pool import ModelPool
from demo.page.labels import PRIVATE, QUIET, Labels
from demo.page.turns import Turn, save_for_browser
from demo.page.visitors import Visitor
from demo.texts import render, translate
from nextgpt_lite.inspection.examples import names, pictures
from nextgpt_lite.inspection.explain import explain

if TYPE_CHECKING:
    from nextgpt_lite import AnyToAny
    from nextgpt_lite.inspection.explain import ConditionCheck, Neighbour


class ExplainTab:
    """A picker of replies, captions to compare with, and the explanation."""

    def __init__(self, pool: ModelPool, visitor: gr.State, labels: Labels) -> None:
        self.pool, self.visitor, self.labels = pool, visitor, labels

    def build(self) -> None:
        """Components, in the tab that is open."""
        with gr.Row(elem_id="explain-controls", equal_height=True):
            reply = gr.Dropdown(choices=[], elem_id="reply", scale=3, interactive=True)
            self.reply = self.labels.add(reply, label="reply")
            captions = gr.Textbox(lines=1, max_lines=4, elem_id="captions", scale=3)
            self.captions = self.labels.add(captions, label="captions", info="captions_info")
            button = gr.Button(elem_id="explain-button", variant="primary", scale=0, min_width=110)
            self.button = self.labels.add(button, value="explain")
        self.view = gr.HTML(elem_id="explanation", apply_default_css=False)

    def wire(self, tab: gr.Tab, model: gr.Dropdown) -> None:
        """The latest reply is explained when the tab is opened."""
        inputs = [self.visitor, self.reply, self.captions, model]
        opened = tab.select(self.choices, self.visitor, [self.reply, self.captions], **QUIET)
        opened.then(self.explain, inputs, self.view, **PRIVATE)
        self.reply.input(lambda: "", None, self.captions, **PRIVATE).then(self.explain, inputs, self.view, **PRIVATE)
        for event in (self.button.click, self.captions.submit):
            event(self.explain, inputs, self.view, **PRIVATE)

    def choices(self, visitor: Visitor) -> tuple[Any, str]:
        """The conversation's replies; the latest is chosen."""
        rows = [
            (f"{number + 1} · {turn.text or '…'} → {turn.reply.text or '…'}"[:90], number)
            for number, turn in enumerate(visitor.current.turns)
            if turn.reply
        ]
        return gr.Dropdown(choices=rows, value=rows[-1][1] if rows else None), ""

    def explain(self, visitor: Visitor, number: int | None, captions: str, model: str) -> str:
        """The explanation of a reply as HTML, or a line that says why there is none."""
        turns = visitor.current.turns
        reply = turns[number].reply if number is not None and number < len(turns) else None
        if number is None or reply is None:
            return f'<p class="none">{translate(visitor.language, "no_reply")}</p>'
        turn, messages = turns[number], visitor.current.messages(until=number)
        given = _captions(captions, len(reply.media))
        try:
            engine = self.pool.engine(model)
            return engine.call(lambda loaded: _explain(loaded, visitor, turn, messages, given), decodes=True).result()
        except ValueError as error:
            title = translate(visitor.language, "did_not_work")
            raise gr.Error(str(error), title=title, print_exception=False) from error


def _explain(
    model: AnyToAny, visitor: Visitor, turn: Turn, messages: list[dict[str, Any]], captions: list[str | None] | None
) -> str:
    """What is computed with the model, in its own thread: the explanation, and media of the captions."""
    assert turn.reply is not None
    explanation = explain(model, messages, turn.reply, captions)
    near = [neighbour_rows(model, medium.neighbours, visitor.language) for medium in explanation.media]
    own = {number: shown for number, (_, shown) in enumerate(turn.reply_files)}
    conditions = [
        (check, own.get(number), _from_caption(model, visitor, turn, number, check))
        for number, check in enumerate(explanation.conditions)
    ]
    return render("explanation", visitor.language, explanation=explanation, neighbours=near, conditions=conditions)


def neighbour_rows(model: AnyToAny, near: Sequence[Neighbour], language: str) -> list[dict[str, Any]]:
    """Weight, similarity, name and image of each neighbour; image None if the cache does not say what it holds."""
    if model.cache is None or not near:
        return []
    indices = [each.index for each in near]
    images = pictures(model.cache, indices) or [None] * len(indices)
    return [
        {"weight": each.weight, "similarity": each.similarity, "name": name, "image": image}
        for each, name, image in zip(near, names(model.cache, indices, language), images, strict=True)
    ]


def _from_caption(model: AnyToAny, visitor: Visitor, turn: Turn, number: int, check: ConditionCheck) -> Path | None:
    """What the decoder generates from the caption, with the noise and settings of the reply's own medium."""
    if check.gold is None:
        return None
    settings = turn.settings
    condition = torch.from_numpy(check.gold)[None]
    [medium] = model.decode(
        check.modality, condition, [settings["seed"] + number], settings["steps"], settings["guidance"]
    )
    return save_for_browser(medium, visitor.current.folder / f"caption-{check.modality}")[1]


def _captions(text: str, count: int) -> list[str | None] | None:
    """One line for each medium; lines that are missing or empty are None: taken from the reply's text."""
    lines = [line.strip() or None for line in text.splitlines()][:count]
    return [*lines, *[None] * (count - len(lines))] if count else None
