"""The benchmark of gated prompts at tiny size: what it measures is there. Its figures are printed, not tested."""

import torch
from transformers import LlamaConfig

from nextgpt_lite.bench.adapters import PROMPT, prompted_core, run
from nextgpt_lite.core_parts import PromptStore

SIZES = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip


def test_it_says_what_was_measured():
    result = run(SIZES, tokens=2, rounds=1)
    assert result["tokens"] == 2 and result["limit"] == 1.08
    assert result["slower"] == result["prompted_milliseconds"] / result["plain_milliseconds"] > 0
    assert result["holds"] == (result["slower"] <= 1.08)


@torch.no_grad()
def test_all_prompts_are_active_in_a_decoding_step():
    core, store = prompted_core(LlamaConfig(**SIZES)), PromptStore()
    media = {"media_embeddings": torch.ones(1, 1, core.config.embedding_width), "media_mask": torch.tensor([[True]])}
    cache = core(torch.arange(PROMPT)[None], **media, use_cache=True, prompt_store=store).past_key_values
    assert set(store.projections) == {("static", 1), ("media", 0), ("media", 1)}
    step = core(torch.ones(1, 1, dtype=torch.long), **media, past_key_values=cache, prompt_store=store)
    core.gated_prompts.static_gate.zero_()
    core.gated_prompts.media_gate.zero_()
    cache.crop(-1)
    shut = core(torch.ones(1, 1, dtype=torch.long), **media, past_key_values=cache)
    assert (step.logits - shut.logits)[..., : core.table.first].abs().max() > 1e-4
