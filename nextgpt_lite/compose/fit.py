"""Whether the parts of a model can be read and fit each other, before anything is trained on them.

Weights are checked on the meta device: every name and shape, without reading a number.
"""

from collections.abc import Mapping
from pathlib import Path

from data.modalities import MODALITIES
from data.strict import sentence
from data.text_files import parse_json
from decoders import load_decoder
from encoders import class_name, load_encoder
from encoders.transformers_vision import TransformersVision, load_processor, load_tower, vision_settings
from nextgpt_lite.chat_template import check_template
from nextgpt_lite.language_models import check_language_model, load_language_model, read_config, read_tokenizer
from nextgpt_lite.signal_tokens import DEFAULT_INPUTS, add_to_tokenizer
from nextgpt_lite.weight_files import CheckpointError, refuse_code


def check_parts(folder: Path, sources: Mapping[str, str]) -> None:
    """Raise CheckpointError, which names the part and both sides, unless the parts in ``folder`` make a model.

    ``sources`` are the folders that they came from, by component.
    """
    for name, source in sources.items():
        try:
            refuse_code(folder / name)
            _check_json(folder / name)
            _check_part(folder, name, sources)
        except Exception as error:  # whatever libraries raise of files that they cannot use
            said = sentence(error).replace(str(folder / name), source)
            raise CheckpointError(f"{name}: {said if source in said else f'{source}: {said}'}") from error


def _check_json(folder: Path) -> None:
    """Libraries pass over some files that they cannot read, as if they were not there."""
    for path in sorted(folder.rglob("*.json")):
        try:
            parse_json(path.read_bytes())
        except ValueError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error


def _check_part(folder: Path, name: str, sources: Mapping[str, str]) -> None:
    if name == "language_model":
        check_language_model(load_language_model(folder / name, device_map="meta"))
    elif name == "tokenizer":
        tokenizer = read_tokenizer(folder / name)
        check_template(tokenizer)
        rows, tokens = read_config(folder / "language_model").get_text_config().vocab_size, len(tokenizer)
        if tokens > rows:
            language_model = f"the language model in {sources['language_model']} has {rows:,} rows"
            raise CheckpointError(f"{language_model}, and the tokenizer in {sources[name]} {tokens:,} tokens")
        add_to_tokenizer(tokenizer, dict.fromkeys(MODALITIES, 1), DEFAULT_INPUTS)  # which it must not have already
    elif name.endswith("_decoder"):
        load_decoder(folder / name)
    else:
        _check_encoder(folder / name)


def _check_encoder(folder: Path) -> None:
    if class_name(folder) == TransformersVision.__name__:
        TransformersVision(load_tower(folder, device_map="meta"), load_processor(folder), vision_settings(folder))
    else:
        load_encoder(folder)
