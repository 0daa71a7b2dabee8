"""Any causal LM that dispatches its attention can stand in the middle: every promise on every family."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    Qwen3Config,
)

from nextgpt_lite.language_models import check_language_model, load_language_model, read_config, read_tokenizer
from nextgpt_lite.weight_files import CheckpointError
from tests.nextgpt_lite.test_model import BASE, SIZES, ids_with_media, make_core

#: Phi is the Falcon-style one: attention and feed-forward side by side, one key head for all query heads.
FAMILIES = {
    "llama": lambda: LlamaConfig(num_key_value_heads=4, **SIZES),
    "qwen3": lambda: Qwen3Config(num_key_value_heads=2, head_dim=8, **SIZES),
    "mistral": lambda: MistralConfig(num_key_value_heads=2, sliding_window=6, **SIZES),
    "gemma": lambda: GemmaConfig(num_key_value_heads=1, head_dim=8, pad_token_id=0, **SIZES),
    "gemma3": lambda: Gemma3TextConfig(
        num_key_value_heads=2, head_dim=8, sliding_window=6, final_logit_softcapping=3.0, pad_token_id=0, **SIZES
    ),
    "phi": lambda: PhiConfig(num_key_value_heads=1, pad_token_id=0, **SIZES),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@torch.no_grad()
def test_gate_zero_equals_the_base_model_bit_for_bit(family):
    core = make_core(family(), gate=0.0)
    ids = ids_with_media(core, 2)
    adapted = core(ids, media_embeddings=torch.randn(1, 2, 16)).logits[..., :BASE]
    base = core.language_model
    base.set_attn_implementation("sdpa")
    assert torch.equal(adapted, base(inputs_embeds=core.embed_text(ids)).logits)


@torch.no_grad()
def test_added_rows_are_as_large_as_those_of_the_base(family):
    core = make_core(family())
    sizes = core.embed_text(torch.tensor([[1, core.table.first]]))[0].norm(dim=-1)
    assert 0.05 < sizes[1] / sizes[0] < 1.5


@torch.no_grad()
def test_a_batch_of_mixed_rows_equals_row_by_row(family):
    core = make_core(family())
    rows = [ids_with_media(core, n, length) for n, length in ((2, 12), (0, 9), (1, 7))]
    media, width = torch.randn(3, 2, 16), 12
    ids, mask = torch.full((3, width), 3), torch.zeros(3, width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - row.shape[1] :], mask[i, width - row.shape[1] :] = row[0], 1
    together = core(ids, mask, (mask.cumsum(1) - 1).clamp_min(0), media_embeddings=media).logits
    for i, row in enumerate(rows):
        alone = core(row, media_embeddings=media[i : i + 1]).logits[0]
        torch.testing.assert_close(together[i, -row.shape[1] :], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_cached_steps_equal_the_full_pass(family):
    core = make_core(family())
    ids, media = ids_with_media(core, 2), torch.randn(1, 2, 16)
    full = core(ids, media_embeddings=media).logits
    start = core(ids[:, :7], media_embeddings=media, use_cache=True)
    logits, cache = [start.logits], start.past_key_values
    for position in range(7, ids.shape[1]):
        step = core(ids[:, position : position + 1], past_key_values=cache, use_cache=True)
        logits.append(step.logits)
        cache = step.past_key_values
    torch.testing.assert_close(torch.cat(logits, 1), full, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_media_and_static_prompts_are_heard(family):
    core = make_core(family(), gate=0.5, static_tokens=2, static_layers=1)
    ids, media = ids_with_media(core, 1), torch.randn(1, 1, 16)
    heard = core(ids, media_embeddings=media).logits[0, :, :BASE]
    other = core(ids, media_embeddings=-media).logits[0, :, :BASE]
    assert torch.equal(heard[:2], other[:2]) and (heard[2:5] - other[2:5]).abs().amax(-1).min() > 1e-5
    core.gated_prompts.static_gate.zero_()
    assert (core(ids, media_embeddings=media).logits[0, :2, :BASE] - heard[:2]).abs().max() > 1e-5


REFUSED = {
    "falcon": (lambda: FalconConfig(**SIZES), "FalconForCausalLM does not dispatch its attention"),
    "gpt_neox": (lambda: GPTNeoXConfig(**SIZES), "has k_proj and v_proj in 0 of its 3 layers"),
    "gemma2": (lambda: Gemma2Config(num_key_value_heads=2, head_dim=8, **SIZES), "caps its attention scores"),
    "granite": (lambda: GraniteConfig(logits_scaling=4.0, **SIZES), "multiplies its logits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_hear_media_is_refused(name):
    config, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        check_language_model(AutoModelForCausalLM.from_config(config()))


def test_a_missing_folder_is_a_sentence(tmp_path):
    model = "language model"
    for read, what in ((load_language_model, model), (read_config, model), (read_tokenizer, "tokenizer")):
        with pytest.raises(CheckpointError, match=f"there is no {what} at .*nowhere: expected a folder"):
            read(tmp_path / "nowhere")
