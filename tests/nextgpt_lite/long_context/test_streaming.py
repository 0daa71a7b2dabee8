"""Attention sinks: within the window as ever, beyond it as the definition says, in constant memory."""

from itertools import islice

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from adapters.long_context import scale_positions
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.long_context.streaming import stream, stream_tokens, streaming_cache
from nextgpt_lite.model import AnyToAnyCore

IDS = torch.randint(0, 64, (2, 30), generator=torch.Generator().manual_seed(1))


def llama(layers=2, scaling=None):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,  # so that attention is sharp and positions matter
        tie_word_embeddings=False,
    )
    if scaling:
        scale_positions(config, 128, scaling)
    return LlamaForCausalLM(config).eval()


def generated(model, ids, count):
    """Greedy ids by transformers' own generation, without an end."""
    settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": count}
    return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)[:, ids.shape[1] :]


def read(model, ids, cache, chunk):
    """Logits of the last token after reading ``ids`` in chunks."""
    for piece in ids.split(chunk, dim=1):
        cache.make_room(piece.shape[1])
        with torch.no_grad():
            logits = model(piece, past_key_values=cache, use_cache=True).logits[:, -1]
    return logits


def test_within_the_window_it_is_plain_generation():
    model = llama()
    ids = IDS[:, :10]
    assert torch.equal(stream(model, ids, 12, sinks=4, window=20), generated(model, ids, 12))


@pytest.mark.parametrize("scaling", [None, "linear", "yarn"])
@pytest.mark.parametrize(("sinks", "window"), [(2, 7), (0, 5), (4, 1)])
@pytest.mark.parametrize("chunk", [1, 3])
def test_beyond_the_window_it_sees_sinks_and_the_newest(sinks, window, chunk, scaling):
    """In one layer, keys and values depend on their own token alone: reading just the kept tokens is the same."""
    model = llama(layers=1, scaling=scaling)
    cache = streaming_cache(model, sinks, window)
    streamed = read(model, IDS, cache, min(chunk, window))
    kept = torch.cat([IDS[:, :sinks], IDS[:, -window:]], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(streamed, model(kept).logits[:, -1], rtol=1e-4, atol=1e-5)
    assert cache.get_seq_length() == sinks + window


def test_many_evictions_add_nothing_up():
    """In half precision a key that was turned once a step would have been rounded 158 times; it is rounded twice."""
    half = llama(layers=1).bfloat16()
    half.model.rotary_emb = LlamaRotaryEmbedding(half.config)  # frequencies stay as they are
    ids = torch.randint(0, 64, (1, 200), generator=torch.Generator().manual_seed(2))
    streamed = read(half, ids, streaming_cache(half, 2, 40), 1)
    kept = torch.cat([ids[:, :2], ids[:, -40:]], dim=1)
    with torch.no_grad():
        plain = half(kept).logits[:, -1]
        exact = half.float()(kept).logits[:, -1]
    assert (streamed - exact).abs().mean() < 2 * (plain - exact).abs().mean()


def test_it_goes_on_with_further_ids():
    model = llama()
    cache = streaming_cache(model, 4, 40)
    first = torch.stack(list(islice(stream_tokens(model, IDS[:, :8], cache), 3)), dim=1)
    second = next(stream_tokens(model, torch.cat([first[:, -1:], IDS[:, 8:12]], dim=1), cache))
    whole = torch.cat([IDS[:, :8], first, IDS[:, 8:12]], dim=1)
    assert torch.equal(second, model(whole).logits[:, -1].argmax(-1))


def test_it_ends_where_all_rows_end():
    model = llama()
    expected = stream(model, IDS[:1], 1, window=40)[0, 0]
    assert len(list(stream_tokens(model, IDS[:1], streaming_cache(model, 4, 40), end=int(expected)))) == 1


def test_what_does_not_fit_is_refused():
    model = llama()
    with pytest.raises(ValueError, match="4 sinks and a window of 61 exceed the 64 positions"):
        streaming_cache(model, 4, 61)
    streaming_cache(llama(scaling="linear"), 4, 124)
    with pytest.raises(ValueError, match="sinks must be at least 0 and window at least 1, not 4 and 0"):
        streaming_cache(model, 4, 0)
    with pytest.raises(ValueError, match="a pass over 6 tokens does not fit: expected 1 to 5"):
        streaming_cache(model, 4, 5).make_room(6)


def test_the_core_streams():
    config = CoreConfig(text_config=llama().config, first_added_token=64, embedding_width=8, bind={"inner_width": 8})
    torch.manual_seed(4)
    core = AnyToAnyCore(config).eval()
    core.initialise_added_rows()
    assert torch.equal(stream(core, IDS, 6, window=40), generated(core, IDS, 6))
