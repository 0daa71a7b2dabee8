"""Whether the parts of a model can be read and fit each other, before anything is trained on them.

Weights are checked on the meta device: every name and shape, without reading a number.
"""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.modalities import MODALITIES
from decoders import load_decoder
from encoders import class_name, load_encoder
from encoders.transformers_vision import TransformersVision, load_processor, load_tower, vision_settings
from nextgpt_lite.chat_template import check_template
from nextgpt_lite.compose.composition import Composition
from nextgpt_lite.language_models import check_language_model, load_language_model, read_tokenizer
from nextgpt_lite.signal_tokens import DEFAULT_INPUTS, add_to_tokenizer
from nextgpt_lite.weight_files import CheckpointError


def check_parts(folder: Path, composition: Composition) -> None:
    """Raise CheckpointError, which names the part and both sides, unless those in ``folder`` make a model."""
    for name in composition.parts:
        part = composition.part(name)
        try:
            if name == "language_model":
                model = load_language_model(folder / name, device_map="meta")
                check_language_model(model)
                _check_tokenizer(model, read_tokenizer(folder / "tokenizer"), composition)
            elif name in ("encoder", "vision_tower"):
                _check_encoder(folder / name)
            elif name.endswith("_decoder"):
                load_decoder(folder / name)
        except (ValueError, OSError, KeyError) as error:
            sentence = str(error).replace(str(folder / name), str(part and part.path)).splitlines()[0]
            raise CheckpointError(f"{name}: {sentence}") from error


def _check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, composition: Composition) -> None:
    """The language model has a row for each token, and none of them is a placeholder already."""
    rows, tokens = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    if tokens > rows:
        language_model, own = composition.part("language_model"), composition.part("tokenizer")
        where = f"the tokenizer in {(own or language_model).path}"
        raise CheckpointError(
            f"{where} has {tokens:,} tokens, the language model in {language_model.path} {rows:,} rows"
        )
    check_template(tokenizer)
    add_to_tokenizer(tokenizer, dict.fromkeys(MODALITIES, 1), DEFAULT_INPUTS)


def _check_encoder(folder: Path) -> None:
    if class_name(folder) == TransformersVision.__name__:
        TransformersVision(load_tower(folder, device_map="meta"), load_processor(folder), vision_settings(folder))
    else:
        load_encoder(folder)
