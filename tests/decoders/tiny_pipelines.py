"""Untrained pipelines of every class that a decoder can be, of Diffusers' real classes at tiny size."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GPT2Config,
    GPT2LMHeadModel,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5EncoderModel,
    T5Tokenizer,
    UMT5EncoderModel,
)

from data.toybox import TAG_WORDS
from decoders.base import notes_hidden
from decoders.diffusion import flow_scheduler
from tests.tiny_model import CONDITION_LENGTH, caption_tokenizer
from tests.tiny_unclip import VAE
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.language.text_encoders import build_clap_tokenizer

#: Diffusers exports its classes lazily, and annotates some arguments as narrower than they are.
diffusers: Any = import_module("diffusers")
WIDTH, POOLED, TOKENS = 16, 12, 10
#: What ``decoder.json`` of each says: pipelines of this size make large media where nothing is said.
SETTINGS: dict[str, dict[str, Any]] = {
    "StableDiffusion3Pipeline": {"tokens": TOKENS, "steps": 2},
    "SanaPipeline": {"tokens": TOKENS, "steps": 2},
    "FluxPipeline": {"tokens": TOKENS, "steps": 2, "size": 32},
    "TextToVideoSDPipeline": {"frames": 4, "steps": 2, "rate": 8},
    "LTXPipeline": {"tokens": TOKENS, "steps": 2, "frames": 9, "size": 32},
    "WanPipeline": {"tokens": TOKENS, "steps": 2, "frames": 5, "size": 16, "rate": 12},
    "AudioLDM2Pipeline": {"tokens": TOKENS, "steps": 2},
    "StableAudioPipeline": {"steps": 2, "seconds": 0.25},
}


def t5_tokenizer(length: int = TOKENS) -> T5Tokenizer:
    """T5's class, of letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *letters, *(f"\u2581{letter}" for letter in letters)]
    vocabulary = [(piece, -1.0) for piece in pieces]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=length)


def t5(width: int = WIDTH, kind: Any = T5EncoderModel) -> Any:
    config = kind.config_class(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0
    )
    return kind(config)


def clip(kind: Any = CLIPTextModelWithProjection, width: int = POOLED) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=len(caption_tokenizer()), hidden_size=width, intermediate_size=16, projection_dim=width,
            num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=CONDITION_LENGTH, bos_token_id=0,
            eos_token_id=1,
        )
    )  # fmt: skip


def image_vae(**changes: Any) -> Any:
    """Of eight pixels a latent pixel, with a shift as newer ones have it."""
    vae = build_image_vae(ImageVaeSettings(**VAE))
    vae.register_to_config(**changes)
    return vae


def sd3() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=4, patch_size=1, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=32, pooled_projection_dim=2 * POOLED,
        pos_embed_max_size=8,
    )  # fmt: skip
    tokenizer = caption_tokenizer()
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=image_vae(shift_factor=0.06, scaling_factor=1.5), text_encoder=clip(), tokenizer=tokenizer,
        text_encoder_2=clip(), tokenizer_2=tokenizer, text_encoder_3=t5(32), tokenizer_3=t5_tokenizer(),
    )  # fmt: skip


def sana() -> Any:
    torch.manual_seed(0)
    vae = diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=[1, 1], downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.4,
    )  # fmt: skip
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=WIDTH,
        sample_size=16,
    )  # fmt: skip
    tokenizer = t5_tokenizer(512)
    text = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    return diffusers.SanaPipeline(
        tokenizer=tokenizer, text_encoder=Gemma2Model(text), vae=vae, transformer=transformer,
        scheduler=flow_scheduler(3.0),
    )  # fmt: skip


def flux() -> Any:
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=POOLED, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=image_vae(shift_factor=0.1, scaling_factor=0.4),
        text_encoder=clip(CLIPTextModel), tokenizer=caption_tokenizer(), text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(), transformer=transformer,
    )  # fmt: skip


def zeroscope() -> Any:
    torch.manual_seed(0)
    unet = diffusers.UNet3DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=POOLED, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    with notes_hidden("has been deprecated"):
        return diffusers.TextToVideoSDPipeline(
            vae=image_vae(), text_encoder=clip(CLIPTextModel), tokenizer=caption_tokenizer(), unet=unet,
            scheduler=scheduler,
        )  # fmt: skip


def ltx() -> Any:
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False), decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5, upsample_residual=(False,) * 4, upsample_factor=(1,) * 4,
        timestep_conditioning=False, patch_size=1, patch_size_t=1, encoder_causal=True, decoder_causal=False,
    )  # fmt: skip
    vae.latents_mean.copy_(torch.linspace(-0.5, 0.5, 8))
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=WIDTH,
    )  # fmt: skip
    return diffusers.LTXPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=vae, text_encoder=t5(), tokenizer=t5_tokenizer(),
        transformer=transformer,
    )  # fmt: skip


def wan() -> Any:
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
        text_dim=WIDTH, freq_dim=32, ffn_dim=16, num_layers=1, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )  # fmt: skip
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(kind=UMT5EncoderModel),
        vae=vae,
        scheduler=scheduler,
        transformer=transformer,
    )


def audio_vae() -> Any:
    """Of log-mel spectrograms, four steps and bands a latent pixel."""
    return diffusers.AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(8, 8, 8), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=4,
    )  # fmt: skip


def vocoder() -> SpeechT5HifiGan:
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64, sampling_rate=16_000, upsample_initial_channel=16, upsample_rates=[5, 4, 8],
            upsample_kernel_sizes=[11, 8, 16], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
            normalize_before=False,
        )
    )  # fmt: skip


def audioldm2() -> Any:
    torch.manual_seed(0)
    tokenizer = build_clap_tokenizer(TAG_WORDS)
    tokenizer.model_max_length = 16
    branch = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    sound = {
        "spec_size": 64, "window_size": 4, "num_mel_bins": 64, "depths": [1, 1], "num_attention_heads": [2, 2],
        "hidden_size": 192, "patch_embeds_hidden_size": 96, "num_hidden_layers": 2, "patch_size": 2, "patch_stride": 2,
        "patch_embed_input_channels": 4,
    }  # fmt: skip
    text = branch | {"vocab_size": len(tokenizer), "max_position_embeddings": 40, "pad_token_id": 1}
    clap = ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=POOLED))
    language: Any = GPT2Config(
        n_embd=WIDTH, n_layer=1, n_head=2, vocab_size=99, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    language.max_new_tokens = 4
    unet = diffusers.AudioLDM2UNet2DConditionModel(
        sample_size=(32, 16), in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=((None, WIDTH, 24),) * 2, norm_num_groups=4, attention_head_dim=4,
    )  # fmt: skip
    unet.register_to_config(sample_size=32)
    return diffusers.AudioLDM2Pipeline(
        vae=audio_vae(), text_encoder=clap, text_encoder_2=t5(24),
        projection_model=diffusers.AudioLDM2ProjectionModel(
            text_encoder_dim=POOLED, text_encoder_1_dim=24, langauge_model_dim=WIDTH
        ),
        language_model=GPT2LMHeadModel(language), tokenizer=tokenizer, tokenizer_2=t5_tokenizer(),
        feature_extractor=ClapFeatureExtractor(feature_size=64), unet=unet,
        scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        vocoder=vocoder(),
    )  # fmt: skip


def stable_audio() -> Any:
    torch.manual_seed(0)
    vae = diffusers.AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[4, 8], decoder_channels=4, decoder_input_channels=4,
        audio_channels=2, channel_multiples=[1, 2], sampling_rate=4000,
    )  # fmt: skip
    transformer = diffusers.StableAudioDiTModel(
        sample_size=64, in_channels=4, num_layers=1, attention_head_dim=8, num_key_value_attention_heads=2,
        num_attention_heads=2, out_channels=4, cross_attention_dim=8, time_proj_dim=8, global_states_input_dim=16,
        cross_attention_input_dim=8,
    )  # fmt: skip
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.3, sigma_max=500, sigma_data=1.0, prediction_type="v_prediction", sigma_schedule="exponential"
    )
    projection = diffusers.StableAudioProjectionModel(
        text_encoder_dim=WIDTH, conditioning_dim=8, min_value=0, max_value=32
    )
    return diffusers.StableAudioPipeline(
        vae=vae, text_encoder=t5(), projection_model=projection, tokenizer=t5_tokenizer(), transformer=transformer,
        scheduler=scheduler,
    )  # fmt: skip


BUILDERS: dict[str, Callable[[], Any]] = {
    "StableDiffusion3Pipeline": sd3,
    "SanaPipeline": sana,
    "FluxPipeline": flux,
    "TextToVideoSDPipeline": zeroscope,
    "LTXPipeline": ltx,
    "WanPipeline": wan,
    "AudioLDM2Pipeline": audioldm2,
    "StableAudioPipeline": stable_audio,
}
