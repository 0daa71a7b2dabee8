"""The tab "Playground": up to three media with weights, what their sum lies near, and a medium made of it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from demo.engine.model_pool import Shelf
from demo.page.conversations import Visitor
from demo.page.data_urls import file_html
from demo.page.explain_tab import neighbour_pictures
from demo.page.explain_view import neighbour_row
from demo.page.labels import Labels
from demo.page.local_files import own_files_only
from demo.page.words import say
from nextgpt_lite.chat_files import ACCEPTED, attach, save_reply_medium
from nextgpt_lite.commands.chat import ERRORS
from nextgpt_lite.inspection.playground import REQUESTS, Sum, add
from nextgpt_lite.showcase import INGREDIENTS, ingredient, ingredient_name

if TYPE_CHECKING:
    from nextgpt_lite import AnyToAny

QUIET: dict[str, Any] = {"api_visibility": "private"}
#: What the slots hold at first, and their weights.
FIRST = (("yellow car", 1.0), ("dog", 1.0), (None, -1.0))


class PlaygroundTab:
    """Slots, a button, and what comes of them."""

    def __init__(self, shelf: Shelf, visitor: gr.State, labels: Labels) -> None:
        self.shelf, self.visitor, self.labels = shelf, visitor, labels
        self.slots: list[Any] = []  # ingredient, file and weight of each slot, one after the other

    def build(self) -> None:
        """Components, in the tab that is open."""
        lead = gr.HTML(apply_default_css=False)
        self.labels.add(lead, value=lambda language: f'<p class="lead">{say(language, "mix_line")}</p>')
        with gr.Row(elem_id="slots"):
            for number, (name, weight) in enumerate(FIRST, 1):
                self._slot(number, name, weight)
        with gr.Row(elem_id="mix-controls", equal_height=True):
            self.made = gr.Radio(_media("en"), value="image", elem_id="make-of-it", interactive=True, scale=3)
            self.button = gr.Button(elem_id="mix", variant="primary", scale=0, min_width=140)
        self.labels.add(self.made, label="make_of_it", choices=_media)
        self.labels.add(self.button, value="mix")
        self.view = gr.HTML(elem_id="sum", apply_default_css=False)

    def wire(self, model: gr.Dropdown) -> None:
        self.button.click(self.mix, [self.visitor, self.made, model, *self.slots], self.view, **QUIET)

    def mix(self, visitor: Visitor, modality: str, model: str, *slots: Any) -> str:
        """The sum of the slots as HTML. What is wrong with them comes as a toast."""
        language, engine = visitor.language, self.shelf.engine(model)
        try:
            parts, weights, shown = self._summands(visitor, slots)
            if not parts:
                raise ValueError(say(language, "mix_needs"))
            found, near = engine.call(lambda loaded: _added(loaded, parts, weights, language)).result()
            job = engine.submit(found.messages(modality), allowed_media={modality}, demanded=modality)
            reply = job.result().reply
        except (*ERRORS, ValueError, RuntimeError) as error:
            raise gr.Error(str(error), title=say(language, "did_not_work"), print_exception=False) from error
        files = [save_reply_medium(medium, visitor.folder / f"sum-{modality}") for medium in reply.media]
        return _view(found, near, shown, weights, reply.text, files, language)

    def _slot(self, number: int, name: str | None, weight: float) -> None:
        with gr.Column(elem_classes="slot", min_width=220):
            head = gr.HTML(apply_default_css=False)
            picked = gr.Dropdown(_ingredients("en"), value=name or "", interactive=True, elem_id=f"ingredient-{number}")
            file = own_files_only(gr.File(file_types=list(ACCEPTED), height=124, elem_id=f"summand-{number}"))
            strength = gr.Slider(-1.0, 1.0, weight, step=0.1, interactive=True, elem_id=f"weight-{number}")
        self.labels.add(head, value=lambda language: f"<h4>{say(language, 'medium_n', number=number)}</h4>")
        self.labels.add(picked, label="from_toybox", choices=_ingredients)
        self.labels.add(file, label="own_file")
        self.labels.add(strength, label="weight")
        self.slots += [picked, file, strength]

    def _summands(self, visitor: Visitor, slots: tuple) -> tuple[list[dict[str, Any]], list[float], list[str]]:
        """Content part, weight and name of each slot that holds something. A file counts before an ingredient."""
        parts, weights, shown = [], [], []
        for number, (name, file, weight) in enumerate(zip(slots[::3], slots[1::3], slots[2::3], strict=True), 1):
            if file:
                part, _ = attach(Path(file), visitor.folder, number)
            elif name in INGREDIENTS:
                part = ingredient(name)
            else:
                continue
            parts.append(part)
            weights.append(float(weight))
            shown.append(Path(file).name if file else ingredient_name(name, visitor.language))
        return parts, weights, shown


def _added(model: AnyToAny, parts: list[dict[str, Any]], weights: list[float], language: str) -> tuple[Sum, Any]:
    found = add(model, parts, weights)
    return found, neighbour_pictures(model, found.neighbours, language)


def _view(
    found: Sum, near: Any, shown: list[str], weights: list[float], text: str, files: list[Path], language: str
) -> str:
    likeness = "".join(
        f"<li><b>{weight:+.1f}</b> {html.escape(name)}<span>{cosine:.2f}</span></li>"
        for weight, name, cosine in zip(weights, shown, found.likeness, strict=True)
    )
    rows = [each.weight for each in found.neighbours], [each.similarity for each in found.neighbours]
    row = neighbour_row(*rows, near) if near else f'<p class="none">{say(language, "no_cache")}</p>'
    made = "".join(file_html(file) for file in files)
    return (
        f'<div class="explanation"><section class="made">{made}<p>{html.escape(text)}</p></section>'
        f"<section><h3>{say(language, 'shares')}</h3><ul class='likeness'>{likeness}</ul></section>"
        f"<section><h3>{say(language, 'near_sum')}</h3>{row}</section></div>"
    )


def _media(language: str) -> list[tuple[str, str]]:
    return [(say(language, modality), modality) for modality in REQUESTS]


def _ingredients(language: str) -> list[tuple[str, str]]:
    named = [
        (f"{ingredient_name(name, language)} ({say(language, modality)})", name)
        for name, (modality, _) in INGREDIENTS.items()
    ]
    return [(say(language, "nothing"), ""), *named]
