"""An untrained unCLIP pipeline of the real classes at tiny size, for embeddings of any width."""

from __future__ import annotations

from typing import Literal, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import StableUnCLIPImg2ImgPipeline
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from data.toybox import TAG_WORDS
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.language.text_encoders import build_clip, build_clip_tokenizer

WIDTH = 32
VAE = {
    "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 1,
    "latent_channels": 4, "image_size": 32,
}  # fmt: skip


def build_unclip(
    embedding: int, prediction: Literal["epsilon", "v_prediction"] = "v_prediction"
) -> StableUnCLIPImg2ImgPipeline:
    """Pictures of 32 x 32 pixels from embeddings of width ``embedding``."""
    torch.manual_seed(0)
    tokenizer = build_clip_tokenizer(8, TAG_WORDS)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=16, projection_dim=embedding, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH, attention_head_dim=2, norm_num_groups=4, class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * embedding,
    )  # fmt: skip
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    scheduler = DDIMScheduler(prediction_type=prediction, steps_offset=1, clip_sample=False)
    # diffusers annotates schedulers by an enum of their names; what its pipelines take is a scheduler itself.
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        image_encoder=CLIPVisionModelWithProjection(vision),
        image_normalizer=StableUnCLIPImageNormalizer(embedding),
        image_noising_scheduler=cast(KarrasDiffusionSchedulers, noising),
        tokenizer=tokenizer, text_encoder=build_clip(tokenizer, WIDTH, 1), unet=unet,
        scheduler=cast(KarrasDiffusionSchedulers, scheduler),
        vae=build_image_vae(ImageVaeSettings(**VAE)),
    )  # fmt: skip
