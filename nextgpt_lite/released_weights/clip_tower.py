"""CLIP's vision tower from Transformers' names to OpenAI's: all tokens, projected, as LLaMA-Adapter V2 reads them."""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionModelWithProjection

from data.pretrained import load_whole
from encoders.base import read_config
from encoders.open_clip import OpenClipConfig, OpenClipVision
from nextgpt_lite.weight_files import CheckpointError

NAMES = {
    "embeddings.class_embedding": "class_embedding", "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding", "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post", "visual_projection.weight": "proj",
}  # fmt: skip
BLOCK = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
PARTS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def projection_width(clip: Path, source: str) -> int:
    """Width of the projected tokens. CheckpointError for an encoder that is no CLIP."""
    values = read_config(clip)
    if values.get("model_type") not in ("clip", "clip_vision_model"):
        raise CheckpointError(
            f"{source}: these weights read the tokens of a CLIP, the encoder is {values.get('model_type')!r}"
        )
    return int(values.get("projection_dim", 512))


def write_tower(clip: Path, folder: Path, source: str) -> None:
    """Write a CLIP of Transformers as OpenClipVision, whose images are blue first, as V2's weights have them."""
    model = load_whole(CLIPVisionModelWithProjection, clip, "vision tower", dtype=torch.float32)
    sizes: Any = model.config
    if sizes.hidden_act not in ("quick_gelu", "gelu"):
        raise CheckpointError(
            f"{source}: a tower with {sizes.hidden_act!r} cannot be read, expected quick_gelu or gelu"
        )
    config = OpenClipConfig(
        sizes.image_size,
        sizes.patch_size,
        sizes.hidden_size,
        sizes.num_hidden_layers,
        sizes.num_attention_heads,
        sizes.projection_dim,
        sizes.hidden_act == "quick_gelu",
        channels="bgr",
    )
    tower = OpenClipVision(config)
    tower.load(renamed(model.state_dict()))
    tower.save_pretrained(folder)


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of CLIPVisionModelWithProjection under OpenAI's names."""
    state = {name.removeprefix("vision_model."): value for name, value in state.items()}
    own = {}
    for name, value in state.items():
        block = BLOCK.fullmatch(name)
        if block and block[2] in PARTS:
            own[f"transformer.resblocks.{block[1]}.{PARTS[block[2]]}.{block[3]}"] = value
        elif block and block[2] == "self_attn.q_proj":
            rows = [state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            own[f"transformer.resblocks.{block[1]}.attn.in_proj_{block[3]}"] = torch.cat(rows)
        elif name in NAMES:
            own[NAMES[name]] = value.T if NAMES[name] == "proj" else value
        elif name.rpartition(".")[0] in NAMES:
            part, _, kind = name.rpartition(".")
            own[f"{NAMES[part]}.{kind}"] = value
    return own
