"""Decoders: conditions in, media out. :func:`load_decoder` loads what a folder says that it holds."""

from pathlib import Path

import torch

from decoders.audio import AudioDecoder, AudioLdm2Decoder, StableAudioDecoder
from decoders.base import Decoder, class_name, decoder_settings
from decoders.image import (
    FluxImageDecoder,
    ImageDecoder,
    SanaImageDecoder,
    Sd3ImageDecoder,
    UnclipDecoder,
    XlImageDecoder,
)
from decoders.video import LtxVideoDecoder, VideoDecoder, WanVideoDecoder, ZeroscopeDecoder

#: The registry: class of a pipeline, as ``model_index.json`` names it -> the decoder that runs it.
DECODERS: dict[str, type[Decoder]] = {
    "StableDiffusionPipeline": ImageDecoder,
    "StableDiffusionXLPipeline": XlImageDecoder,
    "StableUnCLIPImg2ImgPipeline": UnclipDecoder,
    "StableDiffusion3Pipeline": Sd3ImageDecoder,
    "SanaPipeline": SanaImageDecoder,
    "FluxPipeline": FluxImageDecoder,
    "AnimateDiffPipeline": VideoDecoder,
    "TextToVideoSDPipeline": ZeroscopeDecoder,
    "LTXPipeline": LtxVideoDecoder,
    "WanPipeline": WanVideoDecoder,
    "AudioLDMPipeline": AudioDecoder,
    "AudioLDM2Pipeline": AudioLdm2Decoder,
    "StableAudioPipeline": StableAudioDecoder,
}


def load_decoder(folder: str | Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """The decoder in ``folder``, its weights as ``dtype``.

    Raises ValueError, in one sentence, for a pipeline class that is not known here.
    """
    name = class_name(folder)
    if name not in DECODERS:
        raise ValueError(f"{folder} holds a {name}, which cannot be used: expected one of {', '.join(DECODERS)}")
    settings = decoder_settings(folder)
    if settings.conditions == "phrases":
        return _follows_phrases(name, folder, animated=settings.animated).from_pretrained(folder, dtype)
    return DECODERS[name].from_pretrained(folder, dtype)


def _follows_phrases(name: str, folder: str | Path, animated: bool) -> type[Decoder]:
    """The decoder that runs a pipeline of this class and follows phrases. ValueError where there is none."""
    from decoders.phrase_animation import PhraseAnimationDecoder
    from decoders.phrase_audio import PhraseAudioDecoder  # with transformers' models, which others do without
    from decoders.phrase_image import PhraseImageDecoder
    from decoders.phrase_video import PhraseVideoDecoder

    by_class: dict[str, type[Decoder]] = {
        "StableDiffusionPipeline": PhraseAnimationDecoder if animated else PhraseImageDecoder,
        "AnimateDiffPipeline": PhraseVideoDecoder,
        "AudioLDMPipeline": PhraseAudioDecoder,
    }
    if name not in by_class:
        raise ValueError(f"{folder} holds a {name}, which follows no phrases: expected one of {', '.join(by_class)}")
    return by_class[name]
