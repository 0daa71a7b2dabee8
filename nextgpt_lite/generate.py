"""Token generation in batches, streamed text, and the conditions behind signal tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from nextgpt_lite.media_slots import batch_media
from nextgpt_lite.model import AnyToAnyCore
from nextgpt_lite.signal_tokens import SignalTable

#: A conversation made ready: ids, its media (each an embedding (E,) or patch tokens (P, E)), turns left out.
Prepared = tuple[list[int], Sequence[torch.Tensor], int]


class TextStream(BaseStreamer):
    """Hands the text so far to a callback each time it grows; signal tokens are not text.

    The prompt comes first, as transformers' ``generate`` has it, unless it is ``prompt_seen`` already.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        table: SignalTable,
        on_text: Callable[[str], None],
        prompt_seen: bool = False,
    ) -> None:
        self.tokenizer, self.table, self.on_text = tokenizer, table, on_text
        self.ids: list[int] = []
        self.shown = ""
        self.prompt_seen = prompt_seen

    def put(self, value: torch.Tensor) -> None:
        if not self.prompt_seen:  # the first call brings the prompt
            self.prompt_seen = True
            return
        self.ids += [i for i in value.flatten().tolist() if i < self.table.first]
        text = self._text()
        if not text.endswith("\ufffd"):  # half a character is not shown
            self._show(text)

    def end(self) -> None:
        self._show(self._text())

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=True).strip()

    def _show(self, text: str) -> None:
        if text != self.shown:
            self.shown = text
            self.on_text(text)


@torch.no_grad()
def generate_ids(
    core: AnyToAnyCore,
    tokenizer: PreTrainedTokenizerBase,
    prepared: list[Prepared],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stream: BaseStreamer | None = None,
) -> list[list[int]]:
    """Generated ids of each conversation, without the end token. Greedy at temperature 0."""
    device = core.added_embedding.device
    ids, mask = _left_padded([ids for ids, _, _ in prepared], tokenizer.pad_token_id, device)
    if temperature > 0:
        torch.manual_seed(seed)
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    output = core.generate(
        input_ids=ids,
        attention_mask=mask,
        **batch_media([media for _, media, _ in prepared]),
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        streamer=stream,
        **sampling,
    )
    end = tokenizer.eos_token_id
    rows = [row.tolist() for row in output[:, ids.shape[1] :]]
    return [row[: row.index(end)] if end in row else row for row in rows]


@torch.no_grad()
def signal_conditions(
    core: AnyToAnyCore, prepared: list[Prepared], replies: list[list[int]]
) -> list[dict[str, list[torch.Tensor]]]:
    """Conditions (L, C) of each reply's signal spans, by modality in order.

    One teacher-forced pass over prompt and reply; it equals generation, where step i's state belongs to id i.
    """
    table, device = core.table, core.added_embedding.device
    counts = [{m: sum(i == span.start for i in reply) for m, span in table.spans.items()} for reply in replies]
    wanted = [row for row, count in enumerate(counts) if any(count.values())]
    result: list[dict[str, list[torch.Tensor]]] = [{} for _ in replies]
    if not wanted:
        return result
    chosen = [prepared[row] for row in wanted]
    full = [ids + replies[row] for row, (ids, _, _) in zip(wanted, chosen, strict=True)]
    ids, mask = _left_padded(full, 0, device)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    hidden = core(ids, mask, positions, **batch_media([media for _, media, _ in chosen])).last_hidden_state
    own = ids.clone()  # spans of earlier turns are not this reply's
    for row, (index, _) in enumerate(zip(wanted, chosen, strict=True)):
        own[row, : ids.shape[1] - len(replies[index])] = 0
    for modality in table.spans:
        total = [counts[row][modality] for row in wanted]
        if not sum(total):
            continue
        spans = list(core.conditions(own, hidden, modality))
        for row, count in zip(wanted, total, strict=True):
            result[row][modality] = [spans.pop(0) for _ in range(count)]
    return result


def _left_padded(rows: list[list[int]], padding: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(row) for row in rows)
    ids = torch.tensor([[padding] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask
