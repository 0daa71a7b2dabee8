"""What a reader brings of Transformers, at tiny size: a language model with its tokenizer, vision towers with their
preprocessors. Real classes, random weights, the files that ``save_pretrained`` writes."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from nextgpt_lite.conversation import SEPARATOR_TEMPLATE
from train.foundations.language.language_model import train_tokenizer

SIZE, PATCH, WIDTH = 32, 8, 24
TOWER: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "patch_size": PATCH,
}  # fmt: skip
TEXT = TOWER | {"vocab_size": 99, "num_hidden_layers": 1}
#: Means and deviations that no other preprocessor has.
STATISTICS: dict[str, Any] = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def save_qwen3(folder: Path, template: str | None = SEPARATOR_TEMPLATE, **changes: Any) -> Path:
    """A Qwen3 of two layers and its tokenizer; the output layer has its own weights, as those of larger ones."""
    tokenizer = train_tokenizer(vocabulary=600, texts=200)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1024,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
        "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**sizes | changes)).save_pretrained(folder)
    return folder


def save_clip(folder: Path, size: int = SIZE) -> Path:
    """A whole CLIP; images are resized to a little more than the tower takes, then cropped."""
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig(vision_config=TOWER | {"image_size": size}, text_config=TEXT, projection_dim=16))
    model.save_pretrained(folder)
    crop = {"height": size, "width": size}
    CLIPImageProcessor(size={"shortest_edge": size + 4}, crop_size=crop, **STATISTICS).save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    """A whole SigLIP; images are resized to a square."""
    torch.manual_seed(2)
    SiglipModel(SiglipConfig(vision_config=TOWER | {"image_size": SIZE}, text_config=TEXT)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIZE, "width": SIZE}, resample=2, **STATISTICS).save_pretrained(folder)
    return folder


def save_siglip2(folder: Path) -> Path:
    """A whole SigLIP 2 whose images keep their shape (NaFlex)."""
    torch.manual_seed(3)
    patches = (SIZE // PATCH) ** 2
    Siglip2Model(Siglip2Config(vision_config=TOWER | {"num_patches": patches}, text_config=TEXT)).save_pretrained(
        folder
    )
    Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=patches, **STATISTICS).save_pretrained(folder)
    return folder
