"""A causal language model on a long row: the loss of its last tokens, and whether it retrieves a passkey."""

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from data.passkey import PasskeyDocument


@torch.no_grad()
def final_losses(model: PreTrainedModel, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Cross-entropy (count,) of the last ``count`` tokens of the row ``ids`` (T,), each read after all before it."""
    logits = model(ids[None].to(model.device), use_cache=False, logits_to_keep=count + 1).logits[0, :-1]
    return functional.cross_entropy(logits.float(), ids[-count:].to(logits.device), reduction="none").cpu()


@torch.no_grad()
def tells_passkey(model: PreTrainedModel, document: PasskeyDocument) -> bool:
    """Whether greedy decoding gives the document's answer, key and full stop.

    It does if and only if each token of the answer is the most probable one after those before it: one pass suffices.
    """
    ids = torch.tensor(document.ids)
    count = len(ids) - document.answer_start
    logits = model(ids[None].to(model.device), use_cache=False, logits_to_keep=count + 1).logits[0, :-1]
    return bool((logits.argmax(-1).cpu() == ids[-count:]).all())
