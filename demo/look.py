"""What the page looks like. Everything comes from this machine: no font, script or picture of another host."""

from __future__ import annotations

import base64
import io

import gradio as gr
from PIL import Image

from nextgpt_lite.showcase import portraits

TITLE = "nextgpt_lite"
LINE = (
    "Text, pictures, videos and sounds in any mix in, any mix out. The embedded model is small: "
    "it lives in a toy world of sixteen things, which it can see, hear, draw, film and play. Speak English or 中文."
)
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; padding-top: 14px !important; }
#masthead h1 { font-size: 1.6rem; font-weight: 650; letter-spacing: -0.02em; margin: 0 0 2px; }
#masthead p { margin: 0 0 10px; color: var(--body-text-color-subdued); max-width: 62em; line-height: 1.5; }
#things { display: grid; grid-template-columns: repeat(16, 1fr); gap: 7px; }
#things figure { margin: 0; text-align: center; }
#things img { width: 100%; aspect-ratio: 1; border-radius: 10px; display: block; }
#things figcaption { font-size: 0.72rem; margin-top: 3px; color: var(--body-text-color-subdued); }
@media (max-width: 700px) { #things { grid-template-columns: repeat(8, 1fr); } }
#chat .message img { max-width: 256px; border-radius: 10px; image-rendering: auto; }
#chat .message video { max-width: 288px; border-radius: 10px; }
#chat .making { color: var(--body-text-color-subdued); font-style: italic; font-size: 0.9em; }
#chat progress { width: 220px; height: 5px; display: block; margin-top: 6px; accent-color: var(--color-accent); }
"""


def theme() -> gr.themes.Base:
    """Calm: stone and teal, fonts of the system."""
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=["system-ui", "Segoe UI", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )


def masthead() -> str:
    """Title, one line, and a portrait of each thing, as HTML."""
    figures = "".join(
        f'<figure><img src="{_data_address(array)}" alt="{thing}"><figcaption>{thing}</figcaption></figure>'
        for thing, array in portraits().items()
    )
    return f'<div id="masthead"><h1>{TITLE}</h1><p>{LINE}</p><div id="things">{figures}</div></div>'


def _data_address(array) -> str:
    """A picture (H, W, 3) as an address that holds the picture itself."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
