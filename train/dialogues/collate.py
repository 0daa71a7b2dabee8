"""Collate: rows become a batch of the core's inputs, its labels, and the targets of the losses on signal tokens."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from train.dialogues.encode import Row
from train.dialogues.loader import DialogueLoader


class Collator:
    """Makes batches of rows; media and targets that the loader does not know yet are computed here.

    ``words`` numbers the words of captions ({}: no labels of words), ``counts`` are the signal tokens of each modality.
    """

    def __init__(self, loader: DialogueLoader, words: Mapping[str, int], counts: Mapping[str, int]) -> None:
        self.media_of: Any = loader.embeddings.batch  # media of each row -> keywords of the model
        self.conditions, self.latents = loader.conditions, loader.latents
        self.words, self.counts = words, counts

    def __call__(self, rows: Sequence[Row], pack: bool = False) -> dict[str, torch.Tensor]:
        """Rows -> ids and labels (B, T), media embeddings (B, M, E) or patches, and by output modality caption targets
        (spans, L, C), words of captions (spans, n) and latents of target media. ``pack``: see :func:`packed`."""
        ids = pad_rows([row.ids for row in rows], 0)
        mask = pad_rows([row.assistant_mask for row in rows], 0)
        batch = {"input_ids": ids, "labels": ids.masked_fill(mask == 0, -100)}
        batch |= self.media_of([row.media for row in rows])
        for modality in self.conditions.decoders:
            captions = [caption for row in rows for caption in row.captions[modality]]
            if captions:
                batch[f"target_{modality}"] = self.conditions.stack(modality, captions)
                if self.words:
                    batch[f"words_{modality}"] = self._word_labels(captions, self.counts[modality])
                batch |= self.latents.batch(modality, [medium for row in rows for medium in row.targets[modality]])
        return batch | packed([row.ids for row in rows], batch["labels"]) if pack else batch

    def denominators(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | float]:
        """What the parts of a batch's loss are means over: labels, norms of caption targets, words, latents."""
        counts: dict[str, torch.Tensor | float] = {"language": (batch["labels"][:, 1:] != -100).sum()}
        for modality in self.counts:
            target, words = batch.get(f"target_{modality}"), batch.get(f"words_{modality}")
            counts[f"caption_{modality}"] = 0.0 if target is None else target.float().norm(dim=-1).sum()
            counts[f"words_{modality}"] = 0 if words is None else words.numel()
            counts[f"noise_{modality}"] = len(batch.get(f"latents_{modality}", ()))
        return counts

    def _word_labels(self, captions: list[str], count: int) -> torch.Tensor:
        """Numbers of the first ``count`` words of each caption (N, count); 0 where it has ended or a word is new."""
        numbers = [[self.words.get(word, 0) for word in caption.split()[:count]] for caption in captions]
        return torch.tensor([row + [0] * (count - len(row)) for row in numbers])


def caption_words(rows: Iterable[Row]) -> dict[str, int]:
    """Every word of the rows' captions and its number, from 1 on; 0 stands for no word."""
    words = {word for row in rows for captions in row.captions.values() for c in captions for word in c.split()}
    return {"": 0} | {word: number for number, word in enumerate(sorted(words), start=1)}


def pad_rows(rows: Sequence[list], padding: int | float) -> torch.Tensor:
    """Rows of different lengths, padded on the right (B, T)."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows])


def packed(rows: Sequence[list[int]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Rows of ids end to end, without padding: ids, labels and positions (1, T) that begin anew with each row.

    ``labels`` (B, T) are those of the padded rows. The first token of a row is no label: the row before it is another.
    """
    own = [label[: len(row)].clone() for row, label in zip(rows, labels, strict=True)]
    for label in own:
        label[0] = -100
    ids = torch.tensor([[token for row in rows for token in row]])
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    return {"input_ids": ids, "labels": torch.cat(own)[None], "position_ids": positions}
