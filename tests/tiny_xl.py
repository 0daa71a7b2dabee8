"""An untrained Stable Diffusion XL pipeline of the real classes at tiny size."""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from data.toybox import TAG_WORDS
from decoders.diffusion import flow_scheduler
from tests.tiny_unclip import VAE
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.language.text_encoders import build_clip_tokenizer

LENGTH, WIDTH, POOLED = 8, 16, 12


def build_tiny_xl() -> StableDiffusionXLPipeline:
    """Images of 32 x 32 pixels from two text encoders of width 16 and a pooled embedding of width 12."""
    torch.manual_seed(0)
    tokenizer = build_clip_tokenizer(LENGTH, TAG_WORDS)
    end = cast(int, tokenizer.eos_token_id)  # transformers annotates every special id as a list or string too
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, projection_dim=POOLED, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, eos_token_id=end,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=2 * WIDTH, attention_head_dim=2, norm_num_groups=4, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=POOLED + 6 * 8,
    )  # fmt: skip
    # diffusers annotates schedulers by an enum of their names; what its pipelines take is a scheduler itself.
    scheduler = cast(KarrasDiffusionSchedulers, flow_scheduler())
    return StableDiffusionXLPipeline(
        vae=build_image_vae(ImageVaeSettings(**VAE)), text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer, tokenizer_2=tokenizer, unet=unet, scheduler=scheduler,
        add_watermarker=False,
    )  # fmt: skip
