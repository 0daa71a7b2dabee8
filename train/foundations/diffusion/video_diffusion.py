"""The video decoder: the trained image UNet grown in time, an AnimateDiff-shaped pipeline.

    nextgpt-lite train train/recipes/video_diffusion.yaml

Frames are latents of the image VAE, captions are read by the image decoder's text encoder. All of the UNet trains on:
motion modules alone would have to work around what the image UNet thinks of a single frame.
Letters: B videos, F frames, C latent channels, h x w latent pixels, L condition tokens, D their width.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import nn

from decoders.diffusion import flow_scheduler
from train.foundations.diffusion.image_diffusion import (
    CaptionedFlow,
    CaptionedLatents,
    collate_captioned,
    evaluate_flow,
    load_text_encoder,
    load_unet,
    load_vae,
    pool_size,
)
from train.foundations.pools import HELD_OUT_SEED, TRAIN_SEED, video_latents, video_things, write_component
from train.task import Task
from train.worlds import open_world

#: Shards of the exported UNet stay below what a repository takes without complaint.
MAX_SHARD_SIZE = "15MB"


class VideoDiffusionTask(Task):
    """Trains a UNetMotionModel on a pool of encoded videos."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "data": [],  # manifests, see train.worlds; none = Toybox
        "pool": 6144,  # videos, encoded once; at most
        "held_out": 32,  # videos that figures are taken on
        "motion_heads": 4,
        "start": "",  # folder in the model folder of a video UNet to go on from; none = the image UNet grown in time
        "empty_share": 0.1,  # of the captions are empty
        "full_share": 0.4,  # name everything
        "pair_share": 0.05,  # name thing and colour
        "alone_share": 0.0,  # name the thing; the rest keep each attribute with chance
        "attribute_share": 0.7,
        "condition_noise": 0.1,  # deviation of the noise on conditions: projections only come near them
        "thing_weight": 3.0,  # added to the weight of latent cells that the thing touches
        "shift": 1.0,  # above 1: more training at high noise, where the caption alone can tell what is to come
        "sampling_shift": 1.0,  # above 1: more of the solver's steps at high noise
        "seed": TRAIN_SEED,
        "cache_dir": ".cache/pools",
    }

    def __init__(self, settings: dict[str, Any], model_dir: str | Path) -> None:
        super().__init__(settings, model_dir)
        chosen = self.settings
        self.vae = load_vae(self.model_dir)
        self.tokenizer, text_encoder = load_text_encoder(self.model_dir)
        self.world = open_world(chosen["data"])
        stream = self.world.stream("video", chosen["seed"])
        count = pool_size(stream, chosen["pool"])
        latents = video_latents(self.vae, stream, count, chosen["cache_dir"])  # (N, F, C, h, w)
        if chosen["start"]:
            unet = UNetMotionModel.from_pretrained(self.model_dir / chosen["start"], dtype=torch.float32)
        else:
            image_unet = load_unet(self.model_dir / "image_decoder" / "unet")
            unet = grow_in_time(image_unet, latents.shape[1], chosen["motion_heads"])
        self.model = VideoFlow(unet, text_encoder, chosen["condition_noise"], chosen["shift"])
        size, frames, cells = self.vae.config.sample_size, latents.shape[1], latents.shape[-1]
        things = video_things(stream, count, size, cells, frames, chosen["cache_dir"])
        self.dataset = CaptionedLatents(latents, things, stream, chosen)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        motion = [p for name, p in self.model.unet.named_parameters() if "motion_modules" in name]
        image = [p for name, p in self.model.unet.named_parameters() if "motion_modules" not in name]
        return {"motion": motion, "image": image}

    def collate(self, items: list[tuple[torch.Tensor, torch.Tensor, str]]) -> dict[str, torch.Tensor]:
        return collate_captioned(self.tokenizer, items)

    def export(self, model_dir: Path) -> None:
        """Write ``video_decoder``, in half precision: what ``AnimateDiffPipeline.from_pretrained`` reads."""
        pipeline = AnimateDiffPipeline(
            vae=copy.deepcopy(self.vae).half(),
            text_encoder=copy.deepcopy(self.model.text_encoder).half(),
            tokenizer=self.tokenizer,
            unet=copy.deepcopy(self.model.unet).half(),
            motion_adapter=None,
            scheduler=flow_scheduler(self.settings["sampling_shift"]),
        )
        folder = Path(model_dir) / "video_decoder"
        write_component(folder, lambda aside: pipeline.save_pretrained(aside, max_shard_size=MAX_SHARD_SIZE))

    def evaluate(self) -> dict[str, float]:
        """Loss on unseen videos with their captions and with captions of other videos."""
        chosen = self.settings
        stream = self.world.stream("video", HELD_OUT_SEED, held_out=True)
        count = pool_size(stream, chosen["held_out"])
        latents = video_latents(self.vae, stream, count, chosen["cache_dir"]).float()
        return evaluate_flow(self.model, self.tokenizer, latents, stream)


class VideoFlow(CaptionedFlow):
    """The flow-matching loss for videos (B, F, C, h, w): all frames of a video share its noise level and caption."""

    def velocity(self, noisy: torch.Tensor, timestep: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        each_frame = condition.repeat_interleave(noisy.shape[1], dim=0)  # (B * F, L, D)
        return self.unet(noisy.transpose(1, 2), timestep, encoder_hidden_states=each_frame).sample.transpose(1, 2)


def grow_in_time(unet: UNet2DConditionModel, frames: int, heads: int) -> UNetMotionModel:
    """The image UNet with motion modules that do nothing yet: at first every frame is a picture of its own."""
    adapter = MotionAdapter(
        block_out_channels=unet.config.block_out_channels,
        motion_layers_per_block=unet.config.layers_per_block,
        motion_num_attention_heads=heads,
        motion_norm_num_groups=unet.config.norm_num_groups,
        motion_max_seq_length=frames,
    )
    grown = UNetMotionModel.from_unet2d(unet, adapter)
    for module in grown.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
    return grown
