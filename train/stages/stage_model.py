"""What the stages train: the core, and the losses that are taken of it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from nextgpt_lite.core_checkpoint import trained_state
from nextgpt_lite.model import AnyToAnyCore, caption_loss
from train.dialogues.tuned_encoder import TunedEncoder
from train.task import expose_layers


class StageModel(nn.Module):
    """The core with the three losses of NExT-GPT (2309.05519, Sec. 4): cross-entropy, caption alignment of each output
    modality, and the noise loss of its decoder on the medium that is to be generated.

    Caption distances are divided by the mean norm of their targets, so that one weight serves all decoders.
    ``weights`` are those of "caption", "words" and "noise". ``decoders``, frozen, pass gradients on; they stay outside.

    With ``words`` there is one more loss, of a head that is thrown away after training: word i of the caption is to be
    predicted from the state of signal token i. The caption distance reaches a signal token only through the whole
    output projection; from the words a small model learns many times faster what a signal token should attend to.
    """

    def __init__(
        self,
        core: AnyToAnyCore,
        weights: Mapping[str, float],
        words: int,
        decoders: Mapping[str, Any],
        encoder: TunedEncoder | None = None,
    ) -> None:
        super().__init__()
        self.core, self.decoders, self.encoder = core, decoders, encoder
        self.weights = {"language": 1.0, **weights}
        expose_layers(self, core.language_model)
        self.word_head = nn.Linear(core.config.text_config.hidden_size, words) if words else None

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        shares: Mapping[str, float] | None = None,
        **batch: Any,
    ) -> dict[str, torch.Tensor]:
        """Ids and labels (B, T), media as :meth:`media` takes them; of each output modality ``target_<modality>``
        (spans, L, C) and, where wanted, ``words_<modality>`` (spans, n) and ``latents_<modality>`` (spans, ...), these
        for the spans ``latents_at_<modality>`` alone where not all have media. ``position_ids`` (1, T) that begin anew
        set packed dialogues apart. Others are ignored.

        ``shares`` says of each part of the loss what this batch counts for in its step; None = it is the step.
        """
        # Without a cache, transformers separates packed rows by their positions.
        packing = {} if position_ids is None else {"position_ids": position_ids, "use_cache": False}
        output = self.core(input_ids, **self.media({"input_ids": input_ids, **batch}), **packing, logits_to_keep=1)
        parts = {"language": self.core.language_loss(output.last_hidden_state, labels)}
        for modality in self.core.table.spans:
            if f"target_{modality}" in batch:
                parts |= self._span_losses(modality, input_ids, output.last_hidden_state, batch)
        weights = {name: self.weights[name.partition("_")[0]] for name in parts}
        if shares is not None:
            weights = {name: weight * shares[name] for name, weight in weights.items()}
        loss = sum((weights[name] * part for name, part in parts.items()), torch.zeros((), device=labels.device))
        return {"loss": loss} | {name: part.detach() for name, part in parts.items()}

    def media(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The core's keywords: media embeddings (B, M, E), or patches, and their mask, given or made here."""
        if self.encoder is not None:
            return self.encoder(batch)
        return {name: batch[name] for name in ("media_embeddings", "media_mask") if name in batch}

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter, by the part that a recipe gives a learning rate."""
        core = self.core
        own = {f"language_model.{name}": p for name, p in core.language_model.named_parameters()}
        trained = trained_state(core)
        base = [p for name, p in own.items() if name not in trained]
        parts = {"language_model": base, "added_rows": [core.added_embedding, core.added_output]}
        around = ("input_projection", "bind_network", "gated_prompts", "output_projections")
        parts |= {name: _parameters(getattr(core, name)) for name in around}
        optional = {
            "lora": [p for name, p in own.items() if ".lora_" in name],
            "bias_tuning": [p for name, p in own.items() if name in trained and ".lora_" not in name],
            "visual_prompts": _parameters(core.visual_prompts),
            "word_head": _parameters(self.word_head),
            "encoder": [] if self.encoder is None else self.encoder.trained(),
        }
        return parts | {name: parameters for name, parameters in optional.items() if parameters}

    def _span_losses(
        self, modality: str, input_ids: torch.Tensor, hidden: torch.Tensor, targets: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Losses on all spans of a modality, from ids (B, T) and hidden states (B, T, D)."""
        condition, target = self.core.conditions(input_ids, hidden, modality), targets[f"target_{modality}"]
        losses = {f"caption_{modality}": caption_loss(condition, target) / target.float().norm(dim=-1).mean()}
        if f"words_{modality}" in targets and self.word_head is not None:
            logits = self.word_head(hidden[self.core.table.signal_mask(input_ids, modality)])  # (spans n, words)
            words = targets[f"words_{modality}"].flatten()
            losses[f"words_{modality}"] = functional.cross_entropy(logits.float(), words)
        if f"latents_{modality}" in targets:
            decoder = self.decoders[modality].to(condition.device)
            at = targets.get(f"latents_at_{modality}")
            wanted = condition if at is None else condition[at]
            losses[f"noise_{modality}"] = decoder.noise_loss(targets[f"latents_{modality}"], wanted)
        return losses


def _parameters(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else list(module.parameters())
