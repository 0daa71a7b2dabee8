"""Chat templates by name, for tokenizers that have none or another one."""

from data.strict import nearest
from data.text_files import read_text
from nextgpt_lite.template_rendering import read_template
from nextgpt_lite.weight_files import CheckpointError

JINJA = ".jinja"
#: Nano's, one for base models, and those of published adapters (nextgpt_lite.released_weights).
TEMPLATES = {name: read_template(name) for name in ("separator", "nano", "alpaca", "vicuna", "nextgpt_legacy")}


def template_text(name: str) -> str:
    """A template of TEMPLATES, or the text of a ``.jinja`` file. CheckpointError for a name that is neither."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if not name.endswith(JINJA):
        raise CheckpointError(f"chat_template: unknown template {name!r}{nearest(name, TEMPLATES)}, or a {JINJA} file")
    try:
        return read_text(name)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"chat_template: {name} cannot be read: {error}") from error
