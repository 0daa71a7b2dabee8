"""What a conversation has read is not read again in its next turn: only where ids and media are the same, bounded, and
safe with several threads. Replies do not depend on it."""

import threading

import pytest
import torch

from nextgpt_lite.decoding import Decoding, PrefixCache, Prepared, llama
from nextgpt_lite.decoding.contexts import AHEAD, Context
from nextgpt_lite.generate import Sampling, TextBatch, generate
from tests.nextgpt_lite import test_paper_forms as papers
from tests.nextgpt_lite.decoding.test_engines import BY_TRANSFORMERS, assert_same, make_core, run
from tests.nextgpt_lite.test_model import BASE
from tests.nextgpt_lite.test_paper_forms import base
from tests.tiny_model import medium

__all__ = ["base"]  # the fixture


@pytest.fixture
def lengths(monkeypatch) -> list[int]:
    """How many tokens each pass reads; steps of the kernel are not among them."""
    seen, read = [], llama.LlamaWeights.read

    def counted(self, contexts, tokens, prompts):
        seen.append(sum(map(len, tokens)))
        return read(self, contexts, tokens, prompts)

    monkeypatch.setattr(llama.LlamaWeights, "read", counted)
    return seen


@pytest.fixture
def core():
    return make_core({"model_type": "llama"})


def prompt(length: int, seed: int = 0, media=()) -> Prepared:
    generator = torch.Generator().manual_seed(seed)
    return Prepared(torch.randint(0, BASE, (length,), generator=generator).tolist(), list(media))


def answer(core, prepared: Prepared, decoding: Decoding, length: int = 4) -> list[int]:
    [row] = generate(core, -1, [(prepared, Sampling(length))], decoding=decoding)
    return row.ids


def reads(lengths: list[int]) -> int:
    """Tokens of the prompt that was read; what is read after it repairs a reply."""
    total = lengths[0]
    lengths.clear()
    return total


def test_the_next_turn_reads_what_is_new(core, lengths):
    decoding, first = Decoding(prefixes=PrefixCache()), prompt(30)
    reply = answer(core, first, decoding)
    assert reads(lengths) == 30
    second = Prepared([*first.ids, *reply, 7, 8, 9], [])
    again = answer(core, second, decoding)
    assert reads(lengths) <= 8  # the last token of the reply was chosen, not read; what repairs put in is none of it
    assert again == answer(core, second, BY_TRANSFORMERS)
    edited = Prepared([*first.ids[:20], 1, 2, 3], [])
    assert answer(core, edited, decoding) == answer(core, edited, BY_TRANSFORMERS)
    assert reads(lengths) == 3
    third = Prepared([*second.ids, *again, 5], [])
    assert answer(core, third, decoding) == answer(core, third, BY_TRANSFORMERS)
    assert reads(lengths) == 2  # the edited copy took nothing away


def test_the_same_prompt_reads_its_last_token(core, lengths):
    decoding, first = Decoding(prefixes=PrefixCache()), prompt(30)
    assert answer(core, first, decoding) == answer(core, first, decoding)
    assert lengths[0] == 30 and lengths.count(30) == 1
    together = generate(core, -1, [(first, Sampling(3, 1.0, seed)) for seed in range(3)], decoding=decoding)
    assert all(len(row.ids) == 3 for row in together) and lengths.count(30) == 1


def test_rows_of_one_batch_share_what_they_have_in_common(core, lengths):
    one, other = prompt(40), Prepared([*prompt(40).ids[:30], 1, 2], [])
    batch = TextBatch(core, -1, Decoding(prefixes=PrefixCache()))
    rows = batch.add([(one, Sampling(5)), (other, Sampling(5))])
    assert lengths == [40, 2]
    while batch.rows:
        batch.step()
    assert [row.ids for row in rows] == [answer(core, each, BY_TRANSFORMERS, 5) for each in (one, other)]


@pytest.mark.parametrize("form", ["imagebind_llm", "imagebind_llm_row", "nextgpt_group", "llama_adapter_v2"])
def test_media_are_compared_too(form, base, lengths):
    core = papers.make(form, base)
    torch.manual_seed(5)
    shape = (3, 16) if core.config.reads_patches else (16,)
    images = [torch.randn(shape) for _ in range(3)]
    each = 1 if core.config.visual else core.table.input_tokens
    ids = prompt(40).ids
    for start in (18, 30):
        ids[start : start + each] = [core.table.placeholders["image"]] * each
    decoding = Decoding(prefixes=PrefixCache())
    answer(core, Prepared(ids, images[:2]), decoding)
    everywhere = core.gated_prompts.reach == "row"
    for media, new in ((images[:2], 1), ([images[0], images[2]], 10), ([images[2], images[1]], 22)):
        lengths.clear()
        prepared = Prepared(ids, media)
        assert answer(core, prepared, decoding) == answer(core, prepared, BY_TRANSFORMERS)
        assert lengths[0] == (40 if everywhere and new > 1 else new)


def test_other_weights_have_read_something_else(core, lengths):
    decoding, first = Decoding(prefixes=PrefixCache()), prompt(30)
    answer(core, first, decoding)
    with torch.no_grad():
        core.language_model.model.norm.weight.mul_(-1)
    assert answer(core, first, decoding) == answer(core, first, BY_TRANSFORMERS)
    assert lengths.count(30) == 2
    assert len(decoding.prefixes._contexts) == 1


def test_bytes_are_bounded(core, lengths):
    size = Context((3, 2, 8), 30, (0,), torch.zeros(0)).buffer.nbytes
    assert size == 3 * 2 * 2 * (30 + AHEAD) * 8 * 4
    decoding = Decoding(prefixes=PrefixCache(2 * size))
    for seed in (0, 1, 2, 2, 0):  # the third takes the place of the first
        answer(core, prompt(30, seed), decoding)
    assert [length for length in lengths if length > 2] == [30, 30, 30, 30]
    assert sum(each.buffer.nbytes for each in decoding.prefixes._contexts) <= 2 * size
    nothing = Decoding(prefixes=PrefixCache(size - 1))
    answer(core, prompt(30), nothing)
    assert nothing.prefixes._contexts == []


def test_batches_with_kept_prefixes_say_the_same(core):
    decoding = Decoding(prefixes=PrefixCache())
    prompts = [prompt(30), Prepared([*prompt(30).ids[:25], 3, 4], []), prompt(20, 3)]
    for _ in range(2):
        assert_same(run(core, prompts, decoding), run(core, prompts, BY_TRANSFORMERS))


def test_threads_share_a_cache(core):
    decoding = Decoding(prefixes=PrefixCache())
    prompts = [Prepared([*prompt(20).ids, seed, *prompt(6, seed).ids], []) for seed in range(4)]
    expected = [answer(core, each, BY_TRANSFORMERS, 12) for each in prompts]
    found: dict[int, list[list[int]]] = {}

    def work(number: int) -> None:
        found[number] = [answer(core, prompts[(number + turn) % 4], decoding, 12) for turn in range(8)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [expected[(number + turn) % 4] for turn in range(8)] for number in range(4)}


def test_a_chat_goes_on_where_it_was(tiny_model, lengths):
    talk = [{"role": "user", "content": [medium("image"), {"type": "text", "text": "What is this? " + "Look. " * 30}]}]
    reply = tiny_model.chat(talk, max_new_tokens=8, allowed_media=())
    first = reads(lengths)
    talk = [*talk, {"role": "assistant", "content": reply.text}, {"role": "user", "content": "And its colour?"}]
    again = tiny_model.chat(talk, max_new_tokens=8, allowed_media=())
    assert reads(lengths) < first / 2
    prepared = tiny_model.prepare(talk)
    [row] = generate(tiny_model.core, tiny_model.end_tokens, [(prepared, Sampling(8))], decoding=BY_TRANSFORMERS)
    assert again.text == tiny_model.read(row)[0].text
