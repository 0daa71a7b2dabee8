"""What the page looks like. Everything comes from this machine: no font, script or picture of another host."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gradio.themes import Base, Soft, colors, sizes

from demo.page.data_urls import picture_address
from demo.page.words import say
from nextgpt_lite.showcase import portraits

TITLE = "nextgpt_lite"
ASSETS = Path(__file__).parents[1] / "assets"
#: Of the components, and of the frame around them: gradio confines the one to its components.
STYLE = ASSETS / "page.css"
FRAME = ASSETS / "frame.css"
#: Films last two seconds and have no sound: they play again and again.
SCRIPT = """<script>
document.addEventListener("loadedmetadata", ({ target }) => {
  if (target.tagName === "VIDEO") { target.loop = target.muted = true; target.play(); }
}, true);
</script>"""


def head() -> str:
    """What stands in the page's head."""
    return f"<style>{FRAME.read_text(encoding='utf-8')}</style>{SCRIPT}"


def theme() -> Base:
    """Calm: warm paper and pine green, fonts of the system."""
    return Soft(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.stone,
        radius_size=sizes.radius_lg,
        font=["system-ui", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        body_background_fill="#faf9f6",
        background_fill_primary="#ffffff",
        block_shadow="none",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_text_color="#ffffff",
        body_text_color_subdued="*neutral_500",
        block_title_background_fill="transparent",
        block_title_text_color="*neutral_500",
        block_title_text_weight="500",
        block_title_padding="0",
        block_label_background_fill="transparent",
        checkbox_label_background_fill_selected="#0f766e",
        checkbox_background_color_selected="#0f766e",
        slider_color="#0f766e",
        color_accent="#0f766e",
    )


def heading(language: str) -> str:
    """The page's name and one line."""
    return f"<h1><i></i>{TITLE}</h1><p>{say(language, 'line')}</p>"


def empty_chat(language: str) -> str:
    """What stands in the chat before the first message: a portrait of each thing."""
    figures = "".join(f'<img src="{address}" alt="{thing}">' for thing, address in _portraits().items())
    return (
        f'<div class="empty"><h2>{say(language, "empty")}</h2><p>{say(language, "world")}</p>'
        f'<div class="things">{figures}</div></div>'
    )


@cache
def _portraits() -> dict[str, str]:
    return {thing: picture_address(array, quality=85) for thing, array in portraits(72).items()}
