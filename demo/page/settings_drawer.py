"""The settings drawer: how replies are to be generated. Defaults are the models' own."""

import html
from typing import Any

import gradio as gr

from demo.engine.model_pool import ModelPool
from demo.page.labels import Labels
from demo.texts import LANGUAGES, translate


class SettingsDrawer:
    """Components in the order in which handlers take their values; the model comes last."""

    def __init__(self, pool: ModelPool, labels: Labels) -> None:
        self.pool, self.labels = pool, labels
        self.modalities = list(dict.fromkeys(each for name in pool.folders for each in pool.output_modalities(name)))

    def build(self) -> None:
        """Components, in the sidebar that is open."""
        add = self.labels.add
        heading = gr.HTML(elem_classes="heading", apply_default_css=False)
        add(heading, value=lambda language: f"<h2>{translate(language, 'settings')}</h2>")
        names = list(self.pool.folders)
        picker = gr.Dropdown(names, value=self.pool.first, elem_id="model", interactive=True)
        self.picker = add(picker, label="model")
        self.about = gr.HTML(self.models(), elem_id="about-models", apply_default_css=False)
        answer_with = gr.CheckboxGroup(
            self._media("en"), value=self.modalities, elem_id="answer-with", interactive=True
        )
        add(answer_with, label="answer_with", choices=self._media)
        answer_in = gr.Radio(_languages("en"), value="", elem_id="answer-in", interactive=True)
        add(answer_in, label="answer_in", info="answer_in_info", choices=_languages)
        seed = add(gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed"), label="seed")
        sliders = [
            add(gr.Slider(0, greatest, 0, step=step, elem_id=name, interactive=True), label=name, info=f"{name}_info")
            for name, greatest, step in (("steps", 50, 1), ("guidance", 10.0, 0.5), ("temperature", 2.0, 0.1))
        ]
        self.components = [seed, *sliders, answer_in, answer_with, self.picker]

    def read(self, seed, steps, guidance, temperature, answer_in, answer_with, model) -> tuple[dict[str, Any], str]:
        """Values of :attr:`components` -> (keywords of the engine's ``submit``, name of the model)."""
        settings = {
            "seed": int(seed or 0),
            "steps": int(steps) or None,
            "guidance": float(guidance) or None,
            "temperature": float(temperature),
            "language": answer_in or None,
            "allowed_media": tuple(each for each in answer_with if each in self.pool.output_modalities(model)),
        }
        return settings, model

    def models(self) -> str:
        """What is known of each model so far, as HTML."""
        return "".join(f"<p>{html.escape(self.pool.describe(name))}</p>" for name in self.pool.folders)

    def _media(self, language: str) -> list[tuple[str, str]]:
        return [(translate(language, modality), modality) for modality in self.modalities]


def _languages(language: str) -> list[tuple[str, str]]:
    return [(translate(language, "as_asked"), ""), *((name, code) for code, name in LANGUAGES.items())]
