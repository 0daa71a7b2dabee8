"""The tab "Playground": a weighted sum of up to three media, its neighbours, and a medium generated from it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from demo.engine.model_pool import ModelPool
from demo.page.components.explain_panel import neighbour_rows
from demo.page.errors import sentence
from demo.page.labels import PRIVATE, Labels
from demo.page.traffic import own_files_only
from demo.page.turns import save_for_browser
from demo.page.visitors import Visitor
from demo.texts import render, translate
from nextgpt_lite.conversation_media import ACCEPTED, CHAT_ERRORS, read_upload
from nextgpt_lite.inspection.examples import INGREDIENTS, ingredient, ingredient_name
from nextgpt_lite.inspection.mixtures import Sum, add

if TYPE_CHECKING:
    from nextgpt_lite import AnyToAny

#: What the slots hold at first, and their weights.
FIRST = (("yellow car", 1.0), ("dog", 1.0), (None, -1.0))


class PlaygroundTab:
    """Slots for media with weights, a button, and the result."""

    def __init__(self, pool: ModelPool, visitor: gr.State, labels: Labels) -> None:
        self.pool, self.visitor, self.labels = pool, visitor, labels
        self.slots: list[Any] = []  # ingredient, file and weight of each slot, one after the other

    def build(self) -> None:
        """Components, in the tab that is open."""
        lead = gr.HTML(apply_default_css=False)
        self.labels.add(lead, value=lambda language: f'<p class="lead">{translate(language, "mix_line")}</p>')
        with gr.Row(elem_id="slots"):
            for number, (name, weight) in enumerate(FIRST, 1):
                self._build_slot(number, name, weight)
        with gr.Row(elem_id="mix-controls", equal_height=True):
            choices = self._media("en")
            self.made = gr.Radio(choices, value=choices[0][1], elem_id="make-of-it", interactive=True, scale=3)
            self.button = gr.Button(elem_id="mix", variant="primary", scale=0, min_width=140)
        self.labels.add(self.made, label="generate", choices=self._media)
        self.labels.add(self.button, value="mix")
        self.view = gr.HTML(elem_id="sum", apply_default_css=False)

    def wire(self, model: gr.Dropdown) -> None:
        self.button.click(self.mix, [self.visitor, self.made, model, *self.slots], self.view, **PRIVATE)

    def mix(self, visitor: Visitor, modality: str, model: str, *slots: Any) -> str:
        """The sum of the slots as HTML. What is wrong with them comes as a toast."""
        language, engine = visitor.language, self.pool.engine(model)
        try:
            parts, weights, names = self._summands(visitor.language, slots)
            if not parts:
                raise ValueError(translate(language, "mix_needs"))
            total, near = engine.call(lambda loaded: _add(loaded, parts, weights, language)).result()
            job = engine.submit(total.messages(modality), allowed_media={modality}, required_modality=modality)
            reply = job.result().reply
        except (*CHAT_ERRORS, RuntimeError) as error:
            title = translate(language, "did_not_work")
            raise gr.Error(html.escape(sentence(language, error)), title=title, print_exception=False) from error
        files = [save_for_browser(medium, visitor.current.folder / f"sum-{modality}")[1] for medium in reply.media]
        summands = list(zip(names, weights, total.likeness, strict=True))
        return render("sum", language, files=files, text=reply.text, summands=summands, neighbours=near)

    def _build_slot(self, number: int, name: str | None, weight: float) -> None:
        with gr.Column(elem_classes="slot", min_width=220):
            head = gr.HTML(apply_default_css=False)
            picked = gr.Dropdown(_ingredients("en"), value=name or "", interactive=True, elem_id=f"ingredient-{number}")
            file = own_files_only(gr.File(file_types=list(ACCEPTED), height=124, elem_id=f"summand-{number}"))
            strength = gr.Slider(-1.0, 1.0, weight, step=0.1, interactive=True, elem_id=f"weight-{number}")
        self.labels.add(head, value=lambda language: f"<h4>{translate(language, 'medium_n', number=number)}</h4>")
        self.labels.add(picked, label="from_toybox", choices=_ingredients)
        self.labels.add(file, label="own_file")
        self.labels.add(strength, label="weight")
        self.slots += [picked, file, strength]

    def _summands(self, language: str, slots: tuple) -> tuple[list[dict[str, Any]], list[float], list[str]]:
        """Content part, weight and name of each slot that holds something. A file counts before an ingredient."""
        parts, weights, names = [], [], []
        for name, file, weight in zip(slots[::3], slots[1::3], slots[2::3], strict=True):
            if file:
                parts.append(read_upload(Path(file)))
                names.append(Path(file).name)
            elif name in INGREDIENTS:
                parts.append(ingredient(name))
                names.append(ingredient_name(name, language))
            else:
                continue
            weights.append(float(weight))
        return parts, weights, names

    def _media(self, language: str) -> list[tuple[str, str]]:
        return [(translate(language, modality), modality) for modality in self.pool.output_modalities()]


def _add(
    model: AnyToAny, parts: list[dict[str, Any]], weights: list[float], language: str
) -> tuple[Sum, list[dict[str, Any]]]:
    total = add(model, parts, weights)
    return total, neighbour_rows(model, total.neighbours, language)


def _ingredients(language: str) -> list[tuple[str, str]]:
    named = [
        (f"{ingredient_name(name, language)} ({translate(language, modality)})", name)
        for name, (modality, _) in INGREDIENTS.items()
    ]
    return [(translate(language, "nothing"), ""), *named]
