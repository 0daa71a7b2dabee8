"""Experts on images, and on the middle frame of videos: captions, text, detections."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nextgpt_lite.experts.base import LOCAL


class ImageToText:
    """Any image-to-text model of transformers with its processor: what it writes about an image."""

    name = "picture"
    reads = ("image", "video")

    def __init__(self, folder: str | Path, max_new_tokens: int = 40) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.max_new_tokens = max_new_tokens
        self.processor = AutoProcessor.from_pretrained(folder, **LOCAL)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **LOCAL).eval()

    @torch.no_grad()
    def context(self, part: dict[str, Any]) -> str:
        inputs = self.processor(images=image_of(part), return_tensors="pt")
        ids = self.model.generate(
            pixel_values=inputs["pixel_values"], max_new_tokens=self.max_new_tokens, do_sample=False
        )
        return self.processor.batch_decode(ids, skip_special_tokens=True)[0]


class Captioner(ImageToText):
    """A captioning model: BLIP, GIT, ViT-GPT2 and their like."""

    name = "the picture shows"


class TextReader(ImageToText):
    """An OCR model: TrOCR and its like."""

    name = "text in the picture"


class Detector:
    """An object detector of transformers: DETR, YOLOS, RT-DETR and their like. Says what it found, and how many."""

    name = "found in the picture"
    reads = ("image", "video")

    def __init__(self, folder: str | Path, threshold: float = 0.5) -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        self.threshold = threshold
        self.processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
        self.model = AutoModelForObjectDetection.from_pretrained(folder, use_safetensors=True, **LOCAL).eval()

    @torch.no_grad()
    def context(self, part: dict[str, Any]) -> str:
        outputs = self.model(**self.processor(images=image_of(part), return_tensors="pt"))
        [found] = self.processor.post_process_object_detection(outputs, threshold=self.threshold)
        names = Counter(self.model.config.id2label[label] for label in found["labels"].tolist())
        return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in sorted(names.items()))


def image_of(part: dict[str, Any]) -> Image.Image:
    """A part's image, or the middle frame of its video, as RGB."""
    array = np.asarray(part["array"])
    return Image.fromarray(array[len(array) // 2] if part["type"] == "video" else array).convert("RGB")
