"""The files that a part consists of: links to them or copies; weights of PyTorch are read as tensors and converted."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceProcessor

from data.atomic import write_json
from data.strict import read_json
from decoders.base import INDEX, SETTINGS
from encoders.base import CONFIG_FILE
from encoders.transformers_vision import PREPROCESSORS
from encoders.transformers_vision import SETTINGS as ENCODER_SETTINGS
from nextgpt_lite.checkpoint import PICKLES
from nextgpt_lite.weight_files import CheckpointError, read_tensors

#: The names of weights, and what PyTorch's of the same are called.
WEIGHTS = {"model": "pytorch_model", "diffusion_pytorch_model": "diffusion_pytorch_model"}
LANGUAGE_MODEL = (CONFIG_FILE, "generation_config.json")
ENCODER = (CONFIG_FILE, *PREPROCESSORS, ENCODER_SETTINGS)
TOKENIZER_SUFFIXES = (".json", ".jinja", ".model", ".txt", ".tiktoken")
SENTENCEPIECE, FAST, TOKENIZER_CONFIG = "tokenizer.model", "tokenizer.json", "tokenizer_config.json"
#: Puts a file at a new place.
Place = Callable[[Path, Path], object]


def place_link(source: Path, target: Path) -> None:
    """A link to the file, wherever that is itself a link to."""
    target.symlink_to(source.resolve())


def place_copy(source: Path, target: Path) -> None:
    """The file's content; mode and times are new."""
    shutil.copyfile(source, target)


def place_model(source: Path, target: Path, files: Iterable[str], place: Place) -> None:
    """Configuration files, those that are there, and the weights of a model. CheckpointError where it has no weights.

    Whatever else stands in a download (weights a second time, code, pictures) is left out.
    """
    target.mkdir(parents=True)
    for name in files:
        if (source / name).is_file():
            place(source / name, target / name)
    if not place_weights(source, target, place):
        raise CheckpointError(f"{source} holds no weights: expected model.safetensors or pytorch_model.bin")


def place_tokenizer(source: Path, target: Path) -> None:
    """Copies of a tokenizer's files, which are small, so that a chat template can be put beside them.

    The model's ``config.json`` is among them: where the tokenizer does not say its class, that follows from it.
    """
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.suffix in TOKENIZER_SUFFIXES and path.is_file() and not path.name.endswith(".index.json"):
            shutil.copyfile(path, target / path.name)
    if (target / SENTENCEPIECE).is_file() and not (target / FAST).is_file():
        _complete_sentencepiece(source, target)


def _complete_sentencepiece(source: Path, target: Path) -> None:
    """Say the class of a SentencePiece model that says none, as Meta's: Transformers would leave out the space before
    the first word and the token before the text. CheckpointError for another kind of ``tokenizer.model``.
    """
    try:
        SentencePieceProcessor(model_file=str(target / SENTENCEPIECE))
    except (RuntimeError, TypeError):
        raise CheckpointError(
            f"{source / SENTENCEPIECE} is no model of SentencePiece, as Llama 2 and Vicuna have it; that of Llama 3 "
            f"lacks its special tokens: use a folder with {FAST}"
        ) from None
    path = target / TOKENIZER_CONFIG
    known = read_json(path) if path.is_file() else {}
    if "tokenizer_class" not in known:
        write_json(path, {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False} | known)


def place_tree(source: Path, target: Path, place: Place) -> None:
    """All files of an encoder of this project, folder by folder."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        if path.suffix in PICKLES:
            raise CheckpointError(f"{path}: only safetensors are read of an encoder of this project, never a pickle")
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        place(path, target / path.relative_to(source))


def place_pipeline(source: Path, target: Path, place: Place) -> None:
    """A pipeline of Diffusers: the components that ``model_index.json`` names. CheckpointError where one is missing."""
    target.mkdir(parents=True)
    for name in (INDEX, SETTINGS):
        if (source / name).is_file():
            place(source / name, target / name)
    for name, value in read_json(source / INDEX).items():
        if name.startswith("_") or not isinstance(value, list) or value[0] is None:
            continue
        if not (source / name).is_dir():
            raise CheckpointError(f"{source / INDEX} names {name}, and there is no folder {source / name}")
        (target / name).mkdir()
        for path in sorted((source / name).iterdir()):
            if path.suffix in (".json", ".txt", ".model", ".jinja") and not path.name.endswith(".index.json"):
                place(path, target / name / path.name)
        place_weights(source / name, target / name, place)


def place_weights(source: Path, target: Path, place: Place) -> bool:
    """The weights of a folder as safetensors, in one file or in shards; in half precision where there are no others.

    Returns whether there were any.
    """
    for name, pickled in WEIGHTS.items():
        whole = ((name, "safetensors"), (pickled, "bin"))
        for stem, suffix in (*whole, *((f"{stem}.fp16", suffix) for stem, suffix in whole)):
            index = source / f"{stem}.{suffix}.index.json"
            if index.is_file():
                _place_shards(index, target / f"{name}.safetensors.index.json", place)
                return True
            if (source / f"{stem}.{suffix}").is_file():
                _place_file(source / f"{stem}.{suffix}", target / f"{name}.safetensors", place)
                return True
    return False


def _place_shards(index: Path, target: Path, place: Place) -> None:
    """The shards that an index names, and the index. CheckpointError where one is missing."""
    values = read_json(index)
    names = values.get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) and n == Path(n).name for n in names.values()):
        raise CheckpointError(f"{index}: weight_map must name a file of its folder for each weight")
    renamed = {name: f"{Path(name).stem}.safetensors" for name in sorted(set(names.values()))}
    for name, new in renamed.items():
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index} names {name}, and there is no file {index.parent / name}")
        _place_file(index.parent / name, target.parent / new, place)
    write_json(target, values | {"weight_map": {weight: renamed[name] for weight, name in names.items()}})


def _place_file(source: Path, target: Path, place: Place) -> None:
    """A file of safetensors as it is; PyTorch's as safetensors. CheckpointError for one that is not tensors alone."""
    if source.suffix == ".safetensors":
        place(source, target)
        return
    save_file(_with_own_memory(read_tensors(source)), target, {"format": "pt"})


def _with_own_memory(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, those that share their memory with an earlier one as copies: safetensors stores each by itself."""
    known: set[int] = set()
    own = {}
    for name, value in tensors.items():
        memory = value.untyped_storage().data_ptr()
        own[name] = value.clone() if memory in known else value.contiguous()
        known.add(memory)
    return own
