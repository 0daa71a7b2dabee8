"""What a folder holds, by its own ``model_index.json`` or ``config.json``."""

from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from data.strict import read_json
from decoders import DECODERS
from decoders.base import INDEX
from decoders.base import class_name as pipeline_class
from encoders import MODEL_TYPES, RECOGNISED
from encoders.base import CONFIG_FILE
from nextgpt_lite.weight_files import CheckpointError

#: By any of these a tokenizer is recognised.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "spiece.model")


def recognise(folder: Path) -> str:
    """The component that a folder can be: a name in ``checkpoint.component_names()``.

    CheckpointError, which says what was found, for a folder that is none.
    """
    if not folder.is_dir():
        what = "is a file: expected the folder of a part" if folder.is_file() else "is no folder"
        raise CheckpointError(f"{folder} {what}")
    if (folder / INDEX).is_file():
        name = pipeline_class(folder)
        if name not in DECODERS:
            raise CheckpointError(f"{folder} holds a {name}: expected a pipeline of {', '.join(DECODERS)}")
        return f"{DECODERS[name].modality}_decoder"
    if not (folder / CONFIG_FILE).is_file():
        if any((folder / name).is_file() for name in TOKENIZERS):
            return "tokenizer"
        raise CheckpointError(f"{folder} holds no part of a model: it has neither {INDEX} nor {CONFIG_FILE}")
    return _model(folder)


def kind(folder: Path) -> str:
    """What a folder says that it is, in words."""
    if (folder / INDEX).is_file():
        return pipeline_class(folder)
    if not (folder / CONFIG_FILE).is_file():
        return "tokenizer"
    values = read_json(folder / CONFIG_FILE)
    return str(values.get("class") or values.get("model_type") or next(key for key in RECOGNISED if key in values))


def _model(folder: Path) -> str:
    """Encoder or language model, by ``config.json``."""
    values = read_json(folder / CONFIG_FILE)
    found = values.get("model_type")
    if "class" in values or found in MODEL_TYPES or any(key in values for key in RECOGNISED):
        return "encoder"
    if found in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "language_model"
    raise CheckpointError(
        f"{folder / CONFIG_FILE}: model_type {found!r} is neither a causal language model of Transformers nor an "
        f"encoder ({', '.join(MODEL_TYPES)})"
    )
