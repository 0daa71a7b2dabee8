"""The panel beside the conversation that explains one reply: how it came about."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import torch

from demo.engine.model_pool import ModelPool
from demo.page.errors import sentence
from demo.page.labels import QUIET, Labels
from demo.page.turns import Turn, save_for_browser
from demo.page.visitors import Visitor
from demo.texts import read_asset, render, translate
from nextgpt_lite.inspection.examples import names, pictures
from nextgpt_lite.inspection.explain import explain

if TYPE_CHECKING:
    from nextgpt_lite import AnyToAny
    from nextgpt_lite.inspection.explain import ConditionCheck, Neighbour


class ExplainPanel:
    """The panel beside the conversation: which reply, how it came about, captions to compare it with."""

    def __init__(self, pool: ModelPool, visitor: gr.State, labels: Labels) -> None:
        self.pool, self.visitor, self.labels = pool, visitor, labels

    def build(self) -> None:
        """Components, in the panel that is open."""
        head = gr.HTML(js_on_load=read_asset("scripts/panel.js"), apply_default_css=False)
        title = lambda language: render("panel_head", language, title=translate(language, "explain_title"))  # noqa: E731
        self.labels.add(head, value=title)
        self.number = gr.State(None)
        self.view = gr.HTML(elem_id="explanation", apply_default_css=False)
        with gr.Accordion(translate("en", "captions"), open=False, elem_id="compare-captions") as more:
            captions = gr.Textbox(lines=1, max_lines=4, elem_id="captions", show_label=False)
            button = gr.Button(elem_id="explain-button", size="sm")
        self.labels.add(more, label="captions")
        self.captions = self.labels.add(captions, placeholder="captions_info", label="captions")
        self.button = self.labels.add(button, value="compare_captions")

    def wire(self, thread: gr.HTML, model: gr.Dropdown) -> None:
        """A reply is explained when its button is clicked, and again when captions to compare with are given."""

        def chosen(event: gr.EventData, visitor: Visitor):
            waiting = f'<p class="none" role="status">{translate(visitor.language, "explaining")}</p>'
            return int(event._data["turn"]), "", waiting

        inputs = [self.visitor, self.number, self.captions, model]
        begun = thread.explain(chosen, self.visitor, [self.number, self.captions, self.view], **QUIET)
        begun.then(self.explain, inputs, self.view, **QUIET)
        for event in (self.button.click, self.captions.submit):
            event(self.explain, inputs, self.view, **QUIET)

    def explain(self, visitor: Visitor, number: int | None, captions: str, model: str) -> str:
        """The explanation of a reply as HTML, or a line that says why there is none."""
        turns = visitor.current.turns
        reply = turns[number].reply if number is not None and 0 <= number < len(turns) else None
        if number is None or reply is None:
            return f'<p class="none">{translate(visitor.language, "no_reply")}</p>'
        turn, messages = turns[number], visitor.current.messages(until=number)
        given = _captions(captions, len(reply.media))
        try:
            engine = self.pool.engine(model)
            return engine.call(lambda loaded: _explain(loaded, visitor, turn, messages, given), decodes=True).result()
        except ValueError as error:
            said = html.escape(sentence(visitor.language, error))
            return f'<p class="none" role="alert"><b>{translate(visitor.language, "did_not_work")}</b> {said}</p>'


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
    return render(
        "explanation", visitor.language, said=turn.reply.text, explanation=explanation, neighbours=near,
        conditions=conditions,
    )  # fmt: skip


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
