"""The core on a real, tiny Llama (and a grouped-query Qwen3): nothing leaks, nothing is lost."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config

from nextgpt_lite.config import CoreConfig
from nextgpt_lite.model import AnyToAnyCore

BASE = 64
SIZES = {
    "vocab_size": BASE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 128,
}  # fmt: skip


def make_core(text_config=None, gate=0.5, core=None, **prompts) -> AnyToAnyCore:
    torch.manual_seed(0)
    settings = {
        "text_config": text_config or LlamaConfig(num_key_value_heads=4, **SIZES),
        "first_added_token": BASE,
        "signal_tokens": {"image": 2, "video": 3, "audio": 2},
        "embedding_width": 16,
        "bind": {"inner_width": 24, "blocks": 2, "input_scale": 4.0},
        "prompts": prompts,
        "output_projection_settings": {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 32},
        "conditions": {"image": [5, 12], "audio": [1, 8], "video": [5, 12]},
    }
    config = CoreConfig(**settings | (core or {}))
    core = AnyToAnyCore(config).eval()
    core.initialise_added_rows()
    with torch.no_grad():
        for name, parameter in core.gated_prompts.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(gate)
    return core


def ids_with_media(core: AnyToAnyCore, media: int, length: int = 12) -> torch.Tensor:
    ids = torch.randint(0, BASE, (1, length))
    for slot in range(media):
        ids[0, 2 + 3 * slot] = core.table.placeholders["image"]
    return ids


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_gate_zero_equals_the_base_model_bit_for_bit(family):
    text = LlamaConfig(num_key_value_heads=4, **SIZES)
    if family == "qwen3":
        text = Qwen3Config(num_key_value_heads=2, head_dim=8, **SIZES)
    core = make_core(text, gate=0.0)
    ids = ids_with_media(core, 2)
    with torch.no_grad():
        adapted = core(ids, media_embeddings=torch.randn(1, 2, 16)).logits[..., :BASE]
        base = core.language_model
        base.set_attn_implementation("sdpa")
        plain = base(inputs_embeds=core.embed_text(ids)).logits
    assert torch.equal(adapted, plain)


def test_media_change_later_tokens_only():
    core = make_core()
    ids = ids_with_media(core, 2)  # placeholders at 2 and 5
    media = torch.randn(1, 2, 16)
    other = media.clone()
    other[:, 1] += 1.0
    with torch.no_grad():
        first, second = core(ids, media_embeddings=media).logits, core(ids, media_embeddings=other).logits
    assert torch.equal(first[:, :5], second[:, :5])
    assert (first[:, 5:, :BASE] - second[:, 5:, :BASE]).abs().amax(-1).min() > 1e-4


def test_a_batch_of_mixed_rows_equals_row_by_row():
    core = make_core()
    rows = [ids_with_media(core, n, length) for n, length in ((2, 12), (0, 9), (1, 7))]
    media = torch.randn(3, 2, 16)
    width = max(r.shape[1] for r in rows)
    ids, mask = torch.zeros(3, width, dtype=torch.long), torch.zeros(3, width, dtype=torch.long)
    for i, row in enumerate(rows):  # left padding, as generation uses it
        ids[i, width - row.shape[1] :], mask[i, width - row.shape[1] :] = row[0], 1
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        together = core(ids, attention_mask=mask, position_ids=positions, media_embeddings=media).logits
        for i, row in enumerate(rows):
            alone = core(row, media_embeddings=media[i : i + 1]).logits[0]
            assert torch.allclose(together[i, -row.shape[1] :, :BASE], alone[:, :BASE], atol=1e-5)


def test_generation_with_a_cache_equals_the_full_pass():
    core = make_core()
    ids, media = ids_with_media(core, 2), torch.randn(1, 2, 16)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    out = core.generate(input_ids=ids, attention_mask=torch.ones_like(ids), media_embeddings=media, **settings)
    for position in range(ids.shape[1], out.shape[1]):
        with torch.no_grad():
            full = core(out[:, :position], media_embeddings=media).logits[0, -1]
        assert int(full.argmax()) == int(out[0, position])


def test_placeholders_are_never_generated():
    core = make_core()
    with torch.no_grad():
        logits = core(ids_with_media(core, 1), media_embeddings=torch.randn(1, 1, 16)).logits
    silent = range(core.table.first, core.table.first_signal)
    assert logits[..., list(silent)].max() < -1e30


def test_conditions_follow_the_spans_row_by_row():
    core = make_core()
    span = list(core.table.spans["image"])
    ids = torch.randint(0, BASE, (2, 10))
    ids[0, 3:5] = ids[0, 7:9] = ids[1, 1:3] = torch.tensor(span)
    with torch.no_grad():
        hidden = core(ids).last_hidden_state
        conditions = core.conditions(ids, hidden, "image")
        alone = core.conditions(ids[1:], hidden[1:], "image")
    assert conditions.shape == (3, 5, 12)
    assert torch.allclose(conditions[2], alone[0], atol=1e-6)


def test_static_prompts_change_only_the_last_layers():
    core = make_core(gate=0.0, static_tokens=3, static_layers=1)
    ids = ids_with_media(core, 0)
    with torch.no_grad():
        before = core(ids).logits
        core.gated_prompts.static_gate.fill_(0.7)
        after = core(ids).logits
    assert (before - after)[..., :BASE].abs().max() > 1e-4
    assert not core.gated_prompts.has_static(0) and core.gated_prompts.has_static(2)


def test_gradient_reaches_gates_and_bind_network():
    core = make_core(gate=0.1).train()
    ids = ids_with_media(core, 1)
    core(ids, media_embeddings=torch.randn(1, 1, 16), labels=ids.masked_fill(ids >= BASE, 1)).loss.backward()
    for parameter in (core.gated_prompts.media_gate, core.bind_network.projection.weight, core.added_embedding):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_base_model_is_a_plain_llama():
    assert isinstance(make_core().language_model, LlamaForCausalLM)


@pytest.mark.parametrize("injection", ["attention", "words"])
@torch.no_grad()
def test_media_that_reach_their_row_are_seen_by_every_token_of_it(injection):
    core = make_core(injection=injection, reach="row")
    ids, media = ids_with_media(core, 1), torch.randn(1, 1, 16)
    here = int(core.table.placeholder_mask(ids)[0].nonzero())
    with_media = core(ids, media_embeddings=media).logits
    plain = core(ids).logits
    assert (with_media - plain).abs().amax(dim=-1)[0, :here].min() > 1e-4  # before the placeholder too


@pytest.mark.parametrize("injection", ["attention", "words"])
@torch.no_grad()
def test_a_batch_with_and_without_media_that_reach_their_row_equals_row_by_row(injection):
    core = make_core(injection=injection, reach="row")
    rows = [ids_with_media(core, count) for count in (2, 0, 1)]
    media = torch.randn(3, 2, 16)
    together = core(torch.cat(rows), media_embeddings=media).logits
    for index, (row, count) in enumerate(zip(rows, (2, 0, 1), strict=True)):
        alone = core(row, media_embeddings=media[index : index + 1, :count] if count else None).logits
        torch.testing.assert_close(together[index : index + 1], alone)


@pytest.mark.parametrize("injection", ["attention", "words"])
@torch.no_grad()
def test_generation_with_media_that_reach_their_row_equals_the_full_pass(injection):
    core = make_core(injection=injection, reach="row", gate=1.0)
    ids, media = ids_with_media(core, 2), torch.randn(1, 2, 16)
    generated = core.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), media_embeddings=media, max_new_tokens=5,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    full = core(generated, media_embeddings=media).logits[0].argmax(-1)
    assert generated[0, ids.shape[1] :].tolist() == full[ids.shape[1] - 1 : -1].tolist()
    plain = core.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    assert not torch.equal(plain, generated)


@torch.no_grad()
def test_injection_into_the_words_at_gate_zero_equals_the_base_model_bit_for_bit():
    core = make_core(gate=0.0, injection="words")
    ids = ids_with_media(core, 2)
    adapted = core(ids, media_embeddings=torch.randn(1, 2, 16)).logits
    assert torch.equal(adapted, core(ids).logits)


def test_logits_are_needed_only_where_there_are_labels():
    core = make_core(gate=0.1).train()
    ids = torch.randint(0, BASE, (3, 12))
    labels = ids.masked_fill(torch.rand(3, 12) < 0.6, -100)
    labels[:, 0] = 5  # foretold by nothing
    labels[1] = -100
    gradients = []
    for loss in (core(ids, labels=labels).loss, core.language_loss(core(ids).last_hidden_state, labels)):
        core.zero_grad()
        loss.backward()
        gradients.append(
            (loss.detach(), core.get_output_embeddings().weight.grad.clone(), core.added_output.grad.clone())
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    nothing = core.language_loss(core(ids).last_hidden_state, torch.full_like(labels, -100))
    assert nothing.item() == 0 and nothing.requires_grad


def test_training_keeps_no_cache():
    core, ids = make_core(), torch.randint(0, BASE, (1, 6))
    assert core(ids).past_key_values is not None
    assert core.train()(ids).past_key_values is None
    assert core(ids, use_cache=True).past_key_values is not None
