"""Media added to the word tokens (2309.03905, Eq. 2): the equation, who sees what, and nothing at gate 0."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters import GatedPrompts, PromptBatch
from adapters import attention as gated_attention
from adapters.imagebind_llm import attach_to_words, decoder_layers, word_term

WIDTH, LAYERS = 16, 3


@pytest.fixture(scope="module")
def language_model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation(gated_attention.register())
    attach_to_words(model)
    return model


def prompts(gate=0.5, **settings) -> GatedPrompts:
    made = GatedPrompts(LAYERS, 2, WIDTH, injection="words", **settings)
    with torch.no_grad():
        made.media_gate.fill_(gate)
    return made


def batch(made, tokens=5):
    torch.manual_seed(1)
    visibility = torch.ones(2, tokens, 2, dtype=torch.bool)
    visibility[0, :, 1] = False
    visibility[1, :2] = False
    return PromptBatch(made, torch.randn(2, 2, WIDTH), visibility)


def test_the_equation_written_out():
    made = prompts(gate=0.25)
    given = batch(made)
    term = word_term(given, 1)
    torch.testing.assert_close(term[0, 3], 0.25 * given.media[0, 0])
    torch.testing.assert_close(term[1, 4], 0.25 * given.media[1].mean(0))
    assert torch.equal(term[1, 0], torch.zeros(WIDTH))
    given.media[0, 1] = torch.nan  # padding that nobody sees
    assert torch.equal(word_term(given, 1)[0], term[0])


@torch.no_grad()
def test_only_layers_with_media_are_changed(language_model):
    ids = torch.randint(0, 30, (2, 5), generator=torch.Generator().manual_seed(2))
    inputs = []
    hooks = [layer.register_forward_hook(lambda _m, args, _out: inputs.append(args[0])) for layer in
             decoder_layers(language_model)]  # fmt: skip
    last = prompts(media_layers=1, media_last=True)
    language_model(ids, prompt_batch=batch(last))
    language_model(ids)
    for hook in hooks:
        hook.remove()
    with_media, plain = inputs[:LAYERS], inputs[LAYERS:]
    assert torch.equal(with_media[0], plain[0]) and torch.equal(with_media[1], plain[1])
    torch.testing.assert_close(with_media[2] - plain[2], word_term(batch(last), 2), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_gate_zero_equals_the_base_bit_for_bit(language_model):
    ids = torch.randint(0, 30, (2, 5))
    assert torch.equal(language_model(ids, prompt_batch=batch(prompts(gate=0.0))).logits, language_model(ids).logits)
    opened = language_model(ids, prompt_batch=batch(prompts())).logits
    plain = language_model(ids).logits
    torch.testing.assert_close(opened[1, :2], plain[1, :2])  # tokens that see nothing, before any that does
    assert not torch.allclose(opened[1, 2], plain[1, 2], atol=1e-4)


def test_gates_learn(language_model):
    made = prompts(gate=0.0)
    language_model(torch.randint(0, 30, (2, 5)), prompt_batch=batch(made)).logits.square().sum().backward()
    assert made.media_gate.shape == (LAYERS, 1)
    assert (made.media_gate.grad != 0).all()


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="prompts: injection must be one of attention, words, not 'letters'"):
        GatedPrompts(2, 2, 8, injection="letters")
    with pytest.raises(ValueError, match="prompts: reach must be one of placeholders, row, not 'all'"):
        GatedPrompts(2, 2, 8, reach="all")
