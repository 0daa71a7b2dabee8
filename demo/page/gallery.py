"""Messages worth trying: a few under the empty chat, and a matrix of all pairs of media."""

from __future__ import annotations

import html

from data.modalities import MODALITIES
from demo.page.data_urls import picture_address
from demo.page.words import say
from nextgpt_lite.showcase import EXAMPLES, GIVEN, Example, ingredient, picture_of

#: A click on anything that names an example tells its number.
CLICK = """
element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-example]");
  if (chosen) trigger("click", { index: Number(chosen.dataset.example) });
});
"""
ROWS = (None, "image", "audio", "video", "points")
COLUMNS = ("text", "image", "audio", "video")
MARKS = {"text": "Aa", "image": "▣", "audio": "♪", "video": "▶", "points": "⁘"}
#: Numbers of the examples under the empty chat.
FIRST = (1, 3, 4, 9, 18)


def chips(language: str) -> str:
    """A few examples in a row."""
    return f'<div class="chips">{"".join(_chip(number, language) for number in FIRST)}</div>'


def matrix(language: str) -> str:
    """All examples: a row for what is given, a column for what is made."""
    heads = "".join(f"<th>{MARKS[made]} {say(language, made)}</th>" for made in COLUMNS)
    rows = "".join(_row(given, language) for given in ROWS)
    corner = f"<th>{say(language, 'in')} ↓ {say(language, 'out')} →</th>"
    return (
        f'<p class="lead">{say(language, "matrix")}</p>'
        f'<table class="matrix"><thead><tr>{corner}{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(given: str | None, language: str) -> str:
    name = given or "text"
    cells = "".join(
        f'<td data-made="{MARKS[made]} {say(language, made)}">{_button(_number(given, made), language)}</td>'
        for made in COLUMNS
    )
    return f"<tr><th>{_icon(given)}<span>{say(language, name)}</span></th>{cells}</tr>"


def _number(given: str | None, made: str) -> int:
    return next(n for n, example in enumerate(EXAMPLES) if (example.given, example.made) == (given, made))


def _button(number: int, language: str) -> str:
    return f'<button data-example="{number}">{html.escape(EXAMPLES[number].text(language))}</button>'


def _chip(number: int, language: str) -> str:
    example: Example = EXAMPLES[number]
    icon = _icon(example.given) if example.given else ""
    arrow = f"<small>{MARKS[example.given or 'text']} → {MARKS[example.made]}</small>"
    return f'<button data-example="{number}">{icon}<span>{html.escape(example.text(language))}</span>{arrow}</button>'


def _icon(given: str | None) -> str:
    """A small picture of what an example attaches."""
    if given in ("image", "video"):
        return f'<img src="{picture_address(picture_of(GIVEN[given], 48))}" alt="">'
    if given == "points":
        return f'<img src="{picture_address(MODALITIES["points"].preview(_drum())[::6, ::6])}" alt="">'
    return f"<i>{MARKS[given or 'text']}</i>"


def _drum():
    return next(ingredient(name) for name in ("drum",))["array"]
