"""The encoder as a part that is trained: its media are read in steps, and encoded inside the model.

The papers leave their encoders frozen; LLaVA's successors train the vision tower too, at a fraction of the other rates.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from data.strict import construct
from encoders import Encoder
from nextgpt_lite.media_slots import batch_media
from train.dialogues.embed import EMBEDDING_BATCH, MediaEmbeddings, encode_media, preprocess_medium, read_and_encode
from train.dialogues.records import Medium
from train.settings import RecipeError

TENSORS, PLACES = "shown_", "shown_at_"


class PreprocessedMedia(MediaEmbeddings):
    """``media[medium]`` is what the encoder takes of it: nothing is embedded before the model is."""

    def prepare(self, media: Any) -> dict[Medium, str]:
        return {}

    def batch(self, rows: Sequence[Sequence[Medium]]) -> dict[str, Any]:
        """By modality ``shown_<modality>``, n tensors, and, row and place of each, ``shown_at_<modality>`` (n, 2)."""
        tensors: dict[str, list[torch.Tensor]] = defaultdict(list)
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, row in enumerate(rows):
            for place, medium in enumerate(row):
                tensors[medium.modality].append(self[medium])
                places[medium.modality].append((number, place))
        made: dict[str, Any] = {f"{TENSORS}{modality}": own for modality, own in tensors.items()}
        return made | {f"{PLACES}{modality}": torch.tensor(own) for modality, own in places.items()}

    def _embed(self, media: Any) -> tuple[dict[Medium, torch.Tensor], dict[Medium, str]]:
        new = list(dict.fromkeys(media))
        return read_and_encode(
            new, lambda medium: preprocess_medium(self.encoder, medium), lambda _, tensors: tensors, EMBEDDING_BATCH
        )


class TunedEncoder(nn.Module):
    """An encoder that is trained as a whole, or by LoRA where settings of peft.LoraConfig are given.

    ``features`` are those of the core: "pooled" or "patches". RecipeError for an encoder that cannot be tuned.
    """

    def __init__(self, encoder: Encoder, features: str, lora: Mapping[str, Any] | None) -> None:
        super().__init__()
        if not encoder.tunable:
            raise RecipeError(f"tune_encoder must be empty: the towers of {type(encoder).__name__} are trained alone")
        self.encoder, self.features = encoder, features
        if lora is not None:
            settings = {"target_modules": _linear_layers(encoder), **lora}
            config = construct(LoraConfig, settings, "encoder_lora")
            inject_adapter_in_model(config, encoder)

    def trained(self) -> list[nn.Parameter]:
        """LoRA's, or all where there is none."""
        lora = [p for name, p in self.encoder.named_parameters() if ".lora_" in name]
        return lora or list(self.encoder.parameters())

    def forward(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """A batch with what :meth:`PreprocessedMedia.batch` gave -> the core's keywords for media."""
        found: dict[tuple[int, int], torch.Tensor] = {}
        for modality in self.encoder.modalities:
            if (tensors := batch.get(f"{TENSORS}{modality}")) is not None:
                places = batch[f"{PLACES}{modality}"].tolist()
                made = encode_media(self.encoder, modality, tensors, self.features)
                found |= {(row, place): one for (row, place), one in zip(places, made, strict=True)}
        of_row: list[list[torch.Tensor]] = [[] for _ in batch["input_ids"]]
        for (row, _), embedding in sorted(found.items(), key=lambda item: item[0]):
            of_row[row].append(embedding)
        return batch_media(of_row)

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """The encoder's weights by their own names, LoRA's products added."""
        layers = [module for module in self.encoder.modules() if isinstance(module, BaseTunerLayer)]
        before = {name: value.clone() for name, value in self.encoder.state_dict().items()} if layers else {}
        for layer in layers:
            layer.merge()
        merged = {
            name.replace(".base_layer", ""): value.detach().clone()
            for name, value in self.encoder.state_dict().items()
            if ".lora_" not in name
        }
        for layer in layers:
            layer.unmerge()
        if before:  # what was added and taken off again is rounded
            self.encoder.load_state_dict(before)
        return merged


def _linear_layers(encoder: nn.Module) -> list[str]:
    """Names of all linear layers and attentions; an attention's own output layer belongs to it."""
    attentions = {name for name, module in encoder.named_modules() if isinstance(module, nn.MultiheadAttention)}
    linear = {
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[0] not in attentions
    }
    return sorted(attentions | linear)
