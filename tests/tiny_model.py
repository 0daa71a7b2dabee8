"""A complete model folder of the real classes at tiny size, untrained: the ground that the tests of the composed
model stand on. Everything in it is deterministic, so that two builds have the same hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel
from diffusers.pipelines.animatediff.pipeline_animatediff import AnimateDiffPipeline
from diffusers.pipelines.deprecated.audioldm.pipeline_audioldm import AudioLDMPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from transformers import AutoConfig, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, LlamaForCausalLM

from adapters.visual_cache import VisualCache
from data.toybox import TAG_WORDS, render, sample
from decoders.audio import deprecation_note_hidden
from decoders.diffusion import flow_scheduler
from encoders.media_encoder import MediaEncoder, MediaEncoderConfig
from encoders.text_tokenizer import train_tokenizer as train_encoder_tokenizer
from nextgpt_lite.checkpoint import load_tokenizer, write_manifest
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import new_core, save_core
from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore
from train.foundations.autoencoders.audio_vae import build_audio_vae
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.autoencoders.vocoder import VocoderSettings, build_vocoder
from train.foundations.diffusion.audio_diffusion import build_audio_unet
from train.foundations.language.language_model import small_llama, train_tokenizer
from train.foundations.language.text_encoders import build_clap, build_clap_tokenizer

CONDITION_LENGTH, CONDITION_WIDTH = 6, 16
#: The core's own settings, as the stages take them.
CORE = {
    "signal_tokens": {"image": 2, "video": 3, "audio": 2},
    "input_projection": "mlp",
    "input_projection_settings": {"inner_width": 24, "input_scale": 4.0},
    "input_tokens": 2,
    "bind": {"inner_width": 24, "blocks": 1, "input_scale": 4.0},
    "prompts": {"media_tokens": 1},
    "output_projection_settings": {
        "width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16,
    },
    "conditions": {
        "image": [CONDITION_LENGTH, CONDITION_WIDTH],
        "video": [CONDITION_LENGTH, CONDITION_WIDTH],
        "audio": [1, CONDITION_WIDTH],
    },
}  # fmt: skip
LANGUAGE_MODEL = {"hidden_size": 32, "intermediate_size": 48, "layers": 2, "heads": 4, "positions": 768}
VOCODER = VocoderSettings(
    channels=16, upsample_rates=(5, 4, 8), upsample_kernels=(11, 8, 16), kernels=(3,), dilations=(1,)
)


def build_tiny_model(folder: Path) -> Path:
    """Write every component and the manifest. ``core_encoding`` and ``core_decoding`` equal ``core``."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(vocabulary=700, texts=200)
    tokenizer.save_pretrained(folder / "tokenizer")
    config = small_llama(len(tokenizer), **LANGUAGE_MODEL).config
    config.tie_word_embeddings = False  # so that saying() can change the output layer alone
    LlamaForCausalLM(config).half().save_pretrained(folder / "language_model")
    encoder = tiny_encoder()
    encoder.save_pretrained(folder / "encoder")
    pictures = [render(sample(5, i), "image") for i in range(12)]
    with torch.no_grad():
        prototypes = encoder.embed("image", torch.stack([encoder.preprocess("image", p) for p in pictures]))
    VisualCache(prototypes, neighbours=4, blend=0.2).save(folder / "cache", encoder.identity)
    core = tiny_core(folder, encoder)
    for name in ("core_encoding", "core_decoding", "core"):
        save_core(core, folder / name)
    save_decoders(folder)
    write_manifest(folder, "tiny")
    return folder


def tiny_core(folder: Path, encoder: MediaEncoder) -> AnyToAnyCore:
    """A core around the folder's language model, its gates open, so that media matter."""
    base = folder / "language_model"
    text_config = AutoConfig.from_pretrained(base)
    config = CoreConfig(
        text_config=text_config,
        first_added_token=text_config.vocab_size,
        embedding_width=encoder.width,
        encoder_identity=encoder.identity,
        **CORE,
    )
    core = new_core(config, base)
    with torch.no_grad():
        core.gated_prompts.media_gate.fill_(0.5)
    load_tokenizer(folder / "tokenizer", config)
    return core


def tiny_encoder() -> MediaEncoder:
    """Towers of one block; the preprocessing is that of the embedded model."""
    texts = [" ".join(TAG_WORDS)]
    tokenizer = train_encoder_tokenizer(texts, vocabulary=300)
    tower = {"width": 16, "depth": 1, "heads": 2}
    patch = (2, 16, 16)
    towers = {
        "vision": tower | {"input_shape": (3, 2, 32, 32), "kernel": patch, "stride": patch},
        "text": tower | {"input_shape": (24,), "vocabulary": tokenizer.get_vocab_size(), "logit_scale": 1 / 0.07},
        "audio": tower | {"input_shape": (1, 32, 204), "kernel": (16, 12), "stride": (16, 12), "logit_scale": 20.0},
    }
    points = {
        "width": 16, "depth": 1, "heads": 2, "groups": 8, "group_size": 8, "patch_widths": (8, 8, 16),
        "patch_output": 16, "position_width": 8, "projection_width": 16, "shared_width": 24, "points": 64,
        "head_dropout": 0.0,
    }  # fmt: skip
    values = {
        "imagebind": {"shared_width": 24, "towers": towers},
        "points": points,
        "image": {"size": 32},
        "video": {"clips": 2, "clip_seconds": 0.0, "crops": 1},
        "audio": {"mels": 32, "clips": 1},
    }
    return MediaEncoder(MediaEncoderConfig.from_dict(values), tokenizer).eval()


def save_decoders(folder: Path) -> None:
    """Three pipelines with the shapes of the embedded model's media: 64 x 64 pixels, 8 frames, 2 s at 16 kHz."""
    vae = build_image_vae(ImageVaeSettings(block_out_channels=(8,) * 4, latent_channels=4, image_size=64))
    tokenizer = caption_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=CONDITION_WIDTH, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=CONDITION_LENGTH, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=CONDITION_WIDTH, attention_head_dim=2, norm_num_groups=8,
    )  # fmt: skip
    shared: dict[str, Any] = {
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "scheduler": flow_scheduler(),
    }
    unsafe: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionPipeline(unet=unet, **shared, **unsafe).save_pretrained(folder / "image_decoder")
    motion = MotionAdapter(
        block_out_channels=(16, 16), motion_layers_per_block=1, motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=2, motion_norm_num_groups=8, motion_max_seq_length=8,
    )  # fmt: skip
    video = UNetMotionModel.from_unet2d(unet, motion)
    assert isinstance(video, UNetMotionModel)  # a pair only where loading details are asked for
    no_adapter = cast(MotionAdapter, None)  # its annotation is wrong: the network has the motion modules already
    AnimateDiffPipeline(unet=video, motion_adapter=no_adapter, **shared).save_pretrained(folder / "video_decoder")
    save_audio_decoder(folder / "audio_decoder")


def save_audio_decoder(folder: Path) -> None:
    tokenizer = build_clap_tokenizer(TAG_WORDS)
    # diffusers annotates schedulers by an enum of their names; what its pipelines take is a scheduler itself.
    scheduler = cast(KarrasDiffusionSchedulers, flow_scheduler())
    with deprecation_note_hidden():
        AudioLDMPipeline(
            vae=build_audio_vae((8, 8, 8, 8), latent_channels=4, groups=4),
            text_encoder=build_clap(len(tokenizer), CONDITION_WIDTH, layers=1),
            tokenizer=tokenizer,
            unet=build_audio_unet(
                torch.zeros(4, 25, 8), [16, 16], [False, False], layers=1, condition_width=CONDITION_WIDTH
            ),
            scheduler=scheduler,
            vocoder=build_vocoder(VOCODER),
        ).save_pretrained(folder)


def caption_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that spells words letter by letter."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["-"]
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *[f"{letter}</w>" for letter in letters]]
    vocabulary = {name: number for number, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CONDITION_LENGTH, pad_token="<|endoftext|>")


@contextmanager
@torch.no_grad()
def saying(
    model, conversations: Sequence[list[dict]], wanted: Sequence[Sequence[str]], words: str = "Here."
) -> Iterator[int]:
    """Make greedy decoding answer each conversation with ``words`` and the spans of the modalities in ``wanted``.

    The rows of the output layer are solved for, so that at each step exactly the next token wins; what the layers
    below compute is untouched. Yields the number of tokens of the longest reply, its end token included.
    """
    core, table = model.core, model.table
    head, silent = core.get_output_embeddings().weight, table.first_signal - table.first
    states, targets, longest = [], [], 0
    for messages, modalities in zip(conversations, wanted, strict=True):
        ids, media, _ = model.prepare(messages)
        reply = [*model.tokenizer(words)["input_ids"], *(token for m in modalities for token in table.spans[m])]
        reply.append(model.tokenizer.eos_token_id)
        full = torch.tensor([[*ids, *reply]])
        hidden = core(full, **batch_media([media])).last_hidden_state[0]
        states.append(hidden[len(ids) - 1 : -1])
        targets += [token - silent if token >= table.first else token for token in reply]
        longest = max(longest, len(reply))
    logits = torch.full((len(targets), len(head) + len(core.added_output) - silent), -30.0)
    logits[range(len(targets)), targets] = 30.0
    rows = torch.linalg.lstsq(torch.cat(states).double(), logits.double(), driver="gelsd").solution.T.float()
    before = head.clone(), core.added_output.clone()
    head.copy_(rows[: len(head)])
    core.added_output[silent:] = rows[len(head) :]
    try:
        yield longest
    finally:
        head.copy_(before[0])
        core.added_output.copy_(before[1])


def medium(modality: str, index: int = 0) -> dict:
    """A content part with a real render of the embedded world."""
    rates = {"video": 4.0, "audio": 16_000.0}
    return {"type": modality, "array": np.asarray(render(sample(3, index), modality)), "rate": rates.get(modality)}
