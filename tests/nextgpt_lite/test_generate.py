"""Rows that join and leave a batch say what they say alone, as ``generate`` has it; in every form of the core."""

import pytest
import torch

from nextgpt_lite.generate import Prepared, Sampling, TextBatch, generate
from nextgpt_lite.media_slots import batch_media
from tests.nextgpt_lite.test_adapter_forms import BASE, FEATURES, base, make_core
from tests.teacher_forced import forced_conditions
from tests.tiny_model import medium, saying

__all__ = ["base"]  # the fixture
END = 1


def run(batch: TextBatch, arrivals: dict[int, list[tuple]]) -> list[list[int]]:
    """Replies to all (prepared, sampling), which arrive before the step that they stand at."""
    rows = []
    for step in range(400):
        rows += [row for arrival in arrivals.get(step, []) for row in batch.add([arrival])]
        batch.step()
        if step > max(arrivals) and not batch.rows:
            break
    assert not batch.rows and all(row.finished for row in rows)
    return [row.ids for row in rows]


@torch.no_grad()
def generate_by_transformers(model, prepared, length: int) -> list[int]:
    """The same reply by transformers' own ``generate``, without the end token."""
    end = model.tokenizer.eos_token_id
    ids, settings = (
        torch.tensor([prepared.ids]),
        {"max_new_tokens": length, "do_sample": False, "eos_token_id": end, "pad_token_id": 0},
    )
    mask = torch.ones_like(ids)
    [row] = model.core.generate(
        input_ids=ids,
        attention_mask=mask,
        **batch_media([prepared.media]),
        **settings,
    ).tolist()
    reply = row[len(prepared.ids) :]
    return reply[: reply.index(end)] if end in reply else reply


def user(*parts):
    return [{"role": "user", "content": [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]}]


def test_rows_come_and_go_as_if_alone(tiny_model):
    talks = [user("hello"), user(medium("image"), "what is this?"), user(medium("audio"), medium("video"), "x " * 30)]
    prepared = [tiny_model.prepare(talk) for talk in talks]
    lengths = (3, 14, 9)
    alone = [generate_by_transformers(tiny_model, each, length) for each, length in zip(prepared, lengths, strict=True)]
    batch = TextBatch(tiny_model.core, tiny_model.tokenizer.eos_token_id)
    one, two, three = ((each, Sampling(length)) for each, length in zip(prepared, lengths, strict=True))
    assert run(batch, {0: [one], 1: [two], 4: [three]}) == alone
    assert run(batch, {0: [three, two], 2: [one]}) == [alone[2], alone[1], alone[0]]


@pytest.mark.parametrize("form", ["paper", "multimodal_7b", "chat_65b"])
def test_media_that_reach_every_token_reach_the_later_ones(base, form):
    core = make_core(base, form)
    torch.manual_seed(3)
    prepared = []
    for length, media in ((6, 2), (4, 0), (9, 1)):
        seen = [torch.randn(4, FEATURES) for _ in range(media if form != "chat_65b" else 0)]
        prepared.append(Prepared(torch.randint(2, BASE, (length,)).tolist(), seen))
    batch = TextBatch(core, end=-1)
    alone = [run(batch, {0: [(each, Sampling(8))]})[0] for each in prepared]
    for each, ids in zip(prepared, alone, strict=True):  # the full pass, without a cache
        media = {"media_embeddings": torch.stack(each[1])[None]} if each[1] else {}
        mask = {"media_mask": torch.ones(1, len(each[1]), dtype=torch.bool)} if each[1] else {}
        with torch.no_grad():
            logits = core(torch.tensor([each[0] + ids]), **media, **mask).logits[0]
        assert logits[len(each[0]) - 1 : -1].argmax(-1).tolist() == ids
    together = run(batch, {0: [(prepared[0], Sampling(8))], 2: [(each, Sampling(8)) for each in prepared[1:]]})
    assert together == alone


def test_sampling_follows_the_seed_of_the_row_alone(tiny_model):
    prepared = tiny_model.prepare(user("hello"))
    batch = TextBatch(tiny_model.core, tiny_model.tokenizer.eos_token_id)
    warm = [(prepared, Sampling(12, temperature=1.5, seed=seed)) for seed in range(3)]
    alone = [run(batch, {0: [each]})[0] for each in warm]
    assert run(batch, {0: warm[:2], 3: warm[2:]}) == alone
    assert len({tuple(ids) for ids in alone}) == 3


def test_a_removed_row_leaves_the_others_as_they_are(tiny_model):
    first, second = (tiny_model.prepare(user(text)) for text in ("hello", "a much longer word than that"))
    batch = TextBatch(tiny_model.core, -1)
    expected = run(batch, {0: [(first, Sampling(10))]})[0]
    row, other = batch.add([(first, Sampling(10)), (second, Sampling(10))])
    batch.step()
    batch.remove(other)
    while batch.rows:
        batch.step()
    assert row.ids == expected and len(other.ids) == 2


def test_disallowed_tokens_do_not_begin_a_reply(tiny_model):
    prepared = tiny_model.prepare(user("hello"))
    batch = TextBatch(tiny_model.core, -1)
    [first, *_] = run(batch, {0: [(prepared, Sampling(3))]})[0]
    disallowed = torch.zeros(tiny_model.table.first + len(tiny_model.table.names), dtype=torch.bool)
    disallowed[first] = True
    assert run(batch, {0: [(prepared, Sampling(3, disallowed_first=disallowed))]})[0][0] != first


@pytest.mark.parametrize("cut", [0, 2], ids=["whole", "repaired"])
def test_conditions_equal_those_of_a_second_pass(tiny_model, cut):
    """States kept while tokens were generated, those of repaired spans too, equal a teacher-forced pass."""
    talks = [user(medium("image"), "Draw it, and let me hear it."), user("Make a film of two bells.")]
    with saying(tiny_model, talks, [("image", "audio"), ("video",)]) as longest:
        requests = [(tiny_model.prepare(talk), Sampling(longest - cut)) for talk in talks]
        together = generate(tiny_model.core, tiny_model.tokenizer.eos_token_id, requests)
    assert (sum(row.repaired for row in together) > 0) == (cut > 0)
    assert [[modality for modality, _ in row.conditions] for row in together] == [["image", "audio"], ["video"]]
    for row in together:
        forced = forced_conditions(tiny_model.core, row.prepared.ids, row.prepared.media, row.reply_ids)
        for modality, condition in row.conditions:
            torch.testing.assert_close(condition, forced[modality].pop(0), atol=1e-4, rtol=1e-4)
