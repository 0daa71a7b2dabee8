"""The settings: model, answer media, language and theme in front, how replies are generated behind "Advanced"."""

import html
from typing import Any

import gradio as gr

from demo.engine.model_pool import ModelPool
from demo.page.labels import Labels
from demo.texts import LANGUAGES, read_asset, render, translate
from nextgpt_lite.checkpoint import unavailable_models

#: Colours of the page: the system's own choice, or one of two.
THEMES = ("system", "light", "dark")


class Settings:
    """``components`` are in the order in which handlers take their values; the model comes last."""

    def __init__(self, pool: ModelPool, labels: Labels) -> None:
        self.pool, self.labels = pool, labels
        self.modalities = list(dict.fromkeys(each for name in pool.folders for each in pool.output_modalities(name)))

    def build(self) -> None:
        """Components, in the panel that is open."""
        add = self.labels.add
        head = gr.HTML(js_on_load=read_asset("scripts/panel.js"), apply_default_css=False)
        add(head, value=lambda language: render("panel_head", language, title=translate(language, "settings")))
        names = list(self.pool.folders)
        picker = gr.Dropdown(names, value=self.pool.first, elem_id="model", interactive=True, filterable=False)
        self.picker = add(picker, label="model")
        self.about = add(gr.HTML(self.models("en"), elem_id="about-models", apply_default_css=False), value=self.models)
        answer_with = gr.CheckboxGroup(
            self._media("en"), value=self.modalities, elem_id="answer-with", interactive=True
        )
        add(answer_with, label="answer_with", choices=self._media)
        languages = [(name, code) for code, name in LANGUAGES.items()]
        self.language = add(gr.Radio(languages, value="en", elem_id="language", interactive=True), label="language")
        self.theme = gr.Radio(_themes("en"), value="system", elem_id="theme", interactive=True)
        add(self.theme, label="theme", choices=_themes)
        with add(gr.Accordion(translate("en", "advanced"), open=False, elem_id="advanced"), label="advanced"):
            self.components = [*self._advanced(), answer_with, self.picker]

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

    def models(self, language: str) -> str:
        """What is known of each model so far, and how to get those that are missing, as HTML."""
        known = "".join(f"<p>{html.escape(self.pool.describe(name))}</p>" for name in self.pool.folders)
        for name, parts in unavailable_models().items():
            sentence = translate(language, "get_model", name=name, parts=", ".join(parts))
            known += f"<p>{html.escape(sentence)} <code>nextgpt-lite models --fetch</code></p>"
        return known

    def _advanced(self) -> list[Any]:
        add = self.labels.add
        answer_in = gr.Radio(_languages("en"), value="", elem_id="answer-in", interactive=True)
        add(answer_in, label="answer_in", info="answer_in_info", choices=_languages)
        seed = add(gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed"), label="seed")
        sliders = [
            add(
                gr.Slider(0, greatest, 0, step=step, elem_id=name, interactive=True, buttons=[]),
                label=name, info=f"{name}_info",
            )
            for name, greatest, step in (("steps", 50, 1), ("guidance", 10.0, 0.5), ("temperature", 2.0, 0.1))
        ]  # fmt: skip
        return [seed, *sliders, answer_in]

    def _media(self, language: str) -> list[tuple[str, str]]:
        return [(translate(language, modality), modality) for modality in self.modalities]


def _languages(language: str) -> list[tuple[str, str]]:
    return [(translate(language, "as_asked"), ""), *((name, code) for code, name in LANGUAGES.items())]


def _themes(language: str) -> list[tuple[str, str]]:
    return [(translate(language, f"theme_{name}"), name) for name in THEMES]
