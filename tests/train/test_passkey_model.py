"""What a language model learns from passkey documents: weighted losses, answers told, positions with gaps."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from train.passkeys import TextsAndPasskeys, passkey_losses, weighted_loss

SMALL = LlamaConfig(
    vocab_size=128, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=64, tie_word_embeddings=True,
)  # fmt: skip


def test_a_gap_moves_positions_and_hides_nothing():
    torch.manual_seed(0)
    model = LlamaForCausalLM(SMALL).eval()
    ids, weights = torch.randint(128, (1, 12)), torch.zeros(1, 12)
    weights[:, -1] = 1.0
    positions = torch.arange(12)[None].clone()
    positions[:, 6:] += 20
    loss = passkey_losses(model, ids, weights, positions)["passkey_loss"]
    changed = ids.clone()
    changed[0, 0] = (ids[0, 0] + 1) % 128
    seen = passkey_losses(model, changed, weights, positions)["passkey_loss"]
    assert loss != seen, "the last token sees what stands before the gap"
    assert loss != passkey_losses(model, ids, weights, torch.arange(12)[None])["passkey_loss"]


def test_the_share_of_answers_counts_tokens_of_weight_one():
    torch.manual_seed(0)
    model = LlamaForCausalLM(SMALL).eval()
    ids, positions = torch.randint(128, (1, 6)), torch.arange(6)[None]
    with torch.no_grad():
        ids[0, 3] = model(ids).logits[0, 2].argmax()
    weights = torch.tensor([[0.0, 0, 0, 1, 0.5, 0]])
    assert passkey_losses(model, ids, weights, positions)["answers"] == 1.0
    ids[0, 3] = (ids[0, 3] + 1) % 128
    assert passkey_losses(model, ids, weights, positions)["answers"] == 0.0


def test_the_weighted_loss_is_a_mean_over_weights():
    torch.manual_seed(0)
    logits, ids = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    weights = torch.tensor([[1.0, 0, 0, 2, 0], [1, 0, 0, 0, 1]])
    terms = -logits.log_softmax(-1)
    expected = (2 * terms[0, 2, ids[0, 3]] + terms[1, 3, ids[1, 4]]) / 3
    torch.testing.assert_close(weighted_loss(logits, ids, weights), expected)


def test_the_loss_is_that_of_the_texts_and_of_the_documents():
    torch.manual_seed(0)
    model = TextsAndPasskeys(LlamaForCausalLM(SMALL)).eval()
    texts, documents = torch.randint(128, (2, 9)), torch.randint(128, (1, 6))
    asked = (documents, torch.ones(1, 6), torch.arange(6)[None])
    both = model(texts, *asked)
    assert both["text_loss"] == model(texts)["loss"]
    assert both["passkey_loss"] == passkey_losses(model.language_model, *asked)["passkey_loss"]
    assert both["loss"] == both["text_loss"] + both["passkey_loss"] and both["loss"].requires_grad
    spread = {"spread_ids": texts, "spread_positions": torch.arange(9).expand(2, 9)}
    assert model(texts, **spread)["spread_loss"].item() == pytest.approx(both["text_loss"].item(), rel=1e-5)
    spread["spread_positions"] = torch.tensor([[0, 1, 2, 3, 30, 31, 32, 33, 34]]).expand(2, 9)
    all_three = model(texts, *asked, **spread)
    assert all_three["spread_loss"] != both["text_loss"]
    sums = both["loss"] + all_three["spread_loss"]
    assert all_three["loss"].item() == pytest.approx(sums.item(), rel=1e-5)
