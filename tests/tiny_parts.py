"""Pretrained parts at small size, in the layout in which they lie in the cache folder: random weights, real classes."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from data.atomic import write_json
from data.parts import STAMP
from encoders.efficientnet import EfficientNetLite

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def write_parts(cache: Path) -> None:
    """``parts/efficientnet`` and ``parts/minilm`` in the folder ``cache``."""
    torch.manual_seed(0)
    trunk, text = (cache / "parts" / name for name in ("efficientnet", "minilm"))
    trunk.mkdir(parents=True)
    network = EfficientNetLite()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)  # pyright: ignore[reportArgumentType]  # it tracks them
    save_file(network.state_dict(), trunk / "model.safetensors")
    write_json(trunk / "classes.json", {"classes": [f"class {row}" for row in range(1000)]})
    config = BertConfig(vocab_size=80, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(text)
    _tokenizer().save_pretrained(text)
    for folder in (trunk, text):
        write_json(folder / STAMP, {"part": folder.name})


def _tokenizer() -> PreTrainedTokenizerFast:
    """Letters as tokens."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
