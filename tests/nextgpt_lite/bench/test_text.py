"""The benchmark of text at tiny size: what it measures is there. Its figures are printed, not tested."""

import pytest
import torch
from transformers import LlamaConfig

from nextgpt_lite.bench import text
from nextgpt_lite.core_checkpoint import add_lora
from nextgpt_lite.decoding import Decoding
from nextgpt_lite.generate import TextBatch

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture(scope="module")
def core():
    torch.manual_seed(0)
    return text.small_core(LlamaConfig(**SIZES))


def test_each_engine_is_timed(core):
    figures = text.tokens_a_second(core, 3, 2, ("exact", "int8"))
    assert {"exact", "int8", "forward_pass", "transformers"} < figures.keys()
    assert figures["int8_to_transformers"] > 0 and figures["exact_to_forward_pass_spread"] >= 0


def test_a_second_turn_is_compared_with_reading_again(core):
    figures = text.second_turn(core, 300)
    assert figures["tokens"] == 302 and figures["ratio"] == figures["read_again"] / figures["kept"]


def test_int8_is_close_to_exact_and_not_it(core):
    ratio = text.perplexity_ratio(core, 40)
    assert ratio == pytest.approx(1, abs=0.05)
    losses = [text.mean_loss(core, [3, 4], [5, 6, 7], decoding) for decoding in (Decoding(), Decoding("transformers"))]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_plain_transformers_runs_the_same_language_model(core):
    core = text.small_core(LlamaConfig(**SIZES))
    add_lora(core, {"r": 2, "target_modules": ["q_proj", "up_proj"]})
    for name, parameter in core.named_parameters():
        if ".lora_" in name:
            parameter.copy_(torch.randn(parameter.shape))
    plain, ids = text.merged_copy(core.eval()), [3, 4, 5]
    logits = TextBatch(core, -1).engine.join([text.Prepared(ids, [])])
    expected = plain(torch.tensor([ids])).logits[:, -1]
    torch.testing.assert_close(logits[:, : core.table.first], expected, atol=1e-4, rtol=1e-4)
