"""An explanation as HTML: chips, strips and bars, without a script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from demo.page.data_urls import picture_address
from demo.page.words import say

if TYPE_CHECKING:
    from nextgpt_lite.inspection.explain import ConditionCheck, Explanation, LayerGate, MediumSeen

#: Of each condition: what the decoder made of the model's, and of the caption's, as HTML.
Pair = tuple[str, str]


def draw(
    seen: Explanation,
    pictures: Sequence[Sequence[tuple[str, np.ndarray | None]]],
    pairs: Sequence[Pair],
    language: str,
) -> str:
    """The whole view.

    Args:
        pictures: of each medium that came in, name and picture (H, W, 3) of each of its neighbours.
        pairs: of each condition, both media.
    """
    sections = [
        _section("attention", _attention(seen, language), language, lead=bool(seen.media)),
        _section("neighbours", _all_neighbours(seen, pictures, language), language),
        _section("signals", _signals(seen), language) if seen.signals else "",
        *(_condition(check, pair, language) for check, pair in zip(seen.conditions, pairs, strict=True)),
        _section("gates", _gates(seen.gates, language), language),
    ]
    return f'<div class="explanation">{"".join(sections)}</div>'


def neighbour_row(
    weights: Sequence[float], similarities: Sequence[float], shown: Sequence[tuple[str, np.ndarray | None]]
) -> str:
    """Neighbours in a row: picture, name, and a bar as long as the weight."""
    largest = max(weights, default=1.0)
    figures = [
        f'<figure title="cosine {similarity:.3f}">{_picture(picture)}'
        f'<i style="width:{100 * weight / largest:.0f}%"></i>'
        f"<figcaption>{html.escape(name)}<b>{weight:.2f}</b></figcaption></figure>"
        for weight, similarity, (name, picture) in zip(weights, similarities, shown, strict=True)
    ]
    return f'<div class="neighbours">{"".join(figures)}</div>'


def _section(key: str, body: str, language: str, title: str | None = None, lead: bool = True) -> str:
    line = f'<p class="lead">{say(language, f"{key}_line")}</p>' if lead else ""
    return f'<section class="about-{key}"><h3>{title or say(language, key)}</h3>{line}{body}</section>' if body else ""


def _attention(seen: Explanation, language: str) -> str:
    if not seen.media:
        return f'<p class="none">{say(language, "no_media")}</p>'
    return "".join(_strip(seen, number, language) for number in range(len(seen.media)))


def _strip(seen: Explanation, number: int, language: str) -> str:
    """The reply's tokens, each as dark as its attention to one medium."""
    medium, shares = seen.media[number], seen.attention[:, 1 + number]  # (R,)
    tokens = seen.tokens[seen.reply_start :]
    largest = max(float(shares.max()), 1e-9)
    spans = [
        f'<span style="--heat:{share / largest:.2f}" title="{share:.1%}">{html.escape(token) or "·"}</span>'
        for token, share in zip(tokens, shares, strict=True)
    ]
    at = list(medium.positions)
    gated = say(language, "prompt_share", share=float(seen.prompt_share[at].mean()))
    name = f"{number + 1} · {say(language, medium.modality)}"
    return f'<div class="strip"><h4>{name}<small>max {largest:.1%} · {gated}</small></h4><p>{"".join(spans)}</p></div>'


def _all_neighbours(
    seen: Explanation, pictures: Sequence[Sequence[tuple[str, np.ndarray | None]]], language: str
) -> str:
    rows = [
        _neighbours_of(number, medium, shown, language)
        for number, (medium, shown) in enumerate(zip(seen.media, pictures, strict=True), 1)
        if medium.neighbours
    ]
    return "".join(rows)


def _neighbours_of(number: int, medium: MediumSeen, shown, language: str) -> str:
    near = medium.neighbours
    row = neighbour_row([n.weight for n in near], [n.similarity for n in near], shown)
    return f"<h4>{number} · {say(language, medium.modality)}</h4>{row}"


def _picture(picture: np.ndarray | None) -> str:
    return '<i class="blank"></i>' if picture is None else f'<img src="{picture_address(picture, 85)}" alt="">'


def _signals(seen: Explanation) -> str:
    chips = [
        f"<span><code>{html.escape(signal.name)}</code><small>{signal.probability:.0%}</small></span>"
        for signal in seen.signals
    ]
    return f'<div class="signals">{"".join(chips)}</div>'


def _condition(check: ConditionCheck, pair: Pair, language: str) -> str:
    title = f"{say(language, 'condition')} · {say(language, check.modality)}"
    if check.cosine is None:
        body = f'<p class="none">{say(language, "no_caption")}</p>'
    else:
        caption = say(language, "from_caption", caption=html.escape(check.caption or ""))
        body = (
            f'{_bars(check.cosine)}<div class="pair"><figure>{pair[0]}<figcaption>{say(language, "from_model")}'
            f"</figcaption></figure><figure>{pair[1]}<figcaption>{caption}</figcaption></figure></div>"
        )
    return _section("condition", body, language, title)


def _bars(values: np.ndarray) -> str:
    """Cosines as bars from 0 upwards, their mean beside them."""
    width, height = 10, 64
    bars = "".join(
        f'<rect x="{n * width + 1}" y="{height * (1 - max(float(value), 0)):.1f}" width="{width - 2}" '
        f'height="{height * max(float(value), 0):.1f}" rx="2"><title>{n}: {value:.3f}</title></rect>'
        for n, value in enumerate(values)
    )
    return (
        f'<div class="bars"><svg viewBox="0 0 {len(values) * width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="cosine">{bars}</svg><span>⌀ {float(values.mean()):.3f}</span></div>'
    )


def _gates(gates: Sequence[LayerGate], language: str) -> str:
    """A row a layer, a bar a head: to the right where the gate is positive, to the left where it is negative."""
    return f'<div class="gate-rows">{"".join(_gate_row(gate, language) for gate in gates)}</div>'


def _gate_row(gate: LayerGate, language: str) -> str:
    name = say(language, "layer", layer=gate.layer + 1) + ("" if gate.kind == "media" else f" ({gate.kind})")
    bars = "".join(map(_gate_bar, gate.values.tolist()))
    return f"<div><span>{name}</span><p>{bars}</p></div>"


def _gate_bar(value: float) -> str:
    side = "minus" if value < 0 else "plus"
    return f'<i title="{value:+.3f}"><b class="{side}" style="height:{abs(value) * 50:.0f}%"></b></i>'
