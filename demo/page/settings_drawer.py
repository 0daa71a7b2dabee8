"""The drawer: how replies are to be made. Its defaults are the models' own."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from demo.engine.model_pool import Shelf
from demo.page.labels import Labels
from demo.page.words import LANGUAGES, say
from nextgpt_lite.signal_tokens import OUTPUT_MODALITIES


class Drawer:
    """Components in the order in which handlers take their values; the model comes last."""

    def __init__(self, shelf: Shelf, labels: Labels) -> None:
        self.shelf, self.labels = shelf, labels

    def build(self) -> None:
        """Components, in the sidebar that is open."""
        add = self.labels.add
        heading = gr.HTML(elem_classes="heading", apply_default_css=False)
        add(heading, value=lambda language: f"<h2>{say(language, 'settings')}</h2>")
        names = list(self.shelf.folders)
        model = gr.Dropdown(names, value=self.shelf.first, elem_id="model", interactive=True)
        self.about = gr.HTML(self.models(), elem_id="about-models", apply_default_css=False)
        answer_with = gr.CheckboxGroup(
            _media("en"), value=list(OUTPUT_MODALITIES), elem_id="answer-with", interactive=True
        )
        answer_in = gr.Radio(_languages("en"), value="", elem_id="answer-in", interactive=True)
        seed = gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed", interactive=True)
        steps = gr.Slider(0, 50, 0, step=1, elem_id="steps", interactive=True)
        guidance = gr.Slider(0.0, 10.0, 0.0, step=0.5, elem_id="guidance", interactive=True)
        temperature = gr.Slider(0.0, 2.0, 0.0, step=0.1, elem_id="temperature", interactive=True)
        add(model, label="model")
        add(answer_with, label="answer_with", choices=_media)
        add(answer_in, label="answer_in", info="answer_in_info", choices=_languages)
        add(seed, label="seed")
        add(steps, label="steps", info="steps_info")
        add(guidance, label="guidance", info="guidance_info")
        add(temperature, label="temperature", info="temperature_info")
        self.components = [seed, steps, guidance, temperature, answer_in, answer_with, model]
        self.picker = model

    def settings(self, seed, steps, guidance, temperature, answer_in, answer_with, model) -> dict[str, Any]:
        """Keywords of the engine's ``submit``."""
        return {
            "seed": int(seed or 0),
            "steps": int(steps) or None,
            "guidance": float(guidance) or None,
            "temperature": float(temperature),
            "language": answer_in or None,
            "allowed_media": tuple(answer_with),
        }

    def model(self, *drawn: Any) -> str:
        """The model that is chosen."""
        return drawn[-1]

    def models(self) -> str:
        """What is known of each model by now, as HTML."""
        return "".join(f"<p>{html.escape(self.shelf.describe(name))}</p>" for name in self.shelf.folders)


def _media(language: str) -> list[tuple[str, str]]:
    return [(say(language, modality), modality) for modality in OUTPUT_MODALITIES]


def _languages(language: str) -> list[tuple[str, str]]:
    return [(say(language, "as_asked"), ""), *((name, code) for code, name in LANGUAGES.items())]
