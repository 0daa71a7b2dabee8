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
#chat, #box { border: 1px solid var(--border-color-primary) !important; border-radius: 14px !important; }
#chat .message img { max-width: 256px; border-radius: 10px; }
#chat .bot img { width: 224px; }
#chat .message video { max-width: 256px; border-radius: 10px; }
#chat .example { border: 1px solid var(--border-color-primary) !important; border-radius: 12px !important; }
#chat .example:hover { border-color: var(--color-accent) !important; }
#chat button[aria-label="Share"] { display: none; } /* it would send the medium to another host */
.gradio-container .form { background: none; border: none; box-shadow: none; }
#options { align-items: end; justify-content: space-between; }
#seed { max-width: 230px; flex-grow: 0; border: none; background: none; padding: 0; }
#seed label { display: flex; align-items: center; gap: 10px; }
#seed label > span { margin: 0; white-space: nowrap; }
#clear { flex-grow: 0; min-width: 110px; }
#chat .making { color: var(--body-text-color-subdued); font-style: italic; font-size: 0.9em; }
#chat progress { width: 220px; height: 5px; display: block; margin-top: 6px; accent-color: #0f766e; }
"""
#: Films last two seconds and have no sound: they play again and again.
HEAD = """<script>
document.addEventListener("loadedmetadata", ({ target }) => {
  if (target.tagName === "VIDEO") { target.loop = target.muted = true; target.play(); }
}, true);
</script>"""


def theme() -> gr.themes.Base:
    """Calm: stone and teal, fonts of the system."""
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=["system-ui", "Segoe UI", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_500",
        block_title_background_fill="transparent",
        block_title_text_color="*neutral_500",
        block_title_text_weight="400",
        block_title_padding="0",
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
