"""Every injection form: padded batches with media, fewer and none equal row by row, and so do steps with a cache."""

import pytest
import torch

from nextgpt_lite.generate import Prepared, Sampling, generate
from nextgpt_lite.media_slots import batch_media
from tests.nextgpt_lite.test_model import BASE
from tests.nextgpt_lite.test_paper_forms import FORMS, base, make
from tests.teacher_forced import forced_conditions

__all__ = ["base"]  # the fixture
COUNTS, LENGTHS, STEPS = (2, 0, 1), (13, 6, 9), 4
PATCHES = 3


@pytest.fixture(scope="module", params=FORMS)
def core(request, base):
    return make(request.param, base)


@pytest.fixture
def rows(core):
    """Ids of three rows, their media, and further ids that a generation might give."""
    torch.manual_seed(3)
    each = 1 if core.config.visual else core.table.input_tokens
    shape = (PATCHES, 16) if core.config.reads_patches else (16,)
    ids = [torch.randint(0, BASE, (length,)).tolist() for length in LENGTHS]
    for row, count in zip(ids, COUNTS, strict=True):
        for medium in range(count):
            row[1 + 5 * medium : 1 + 5 * medium + each] = [core.table.placeholders["image"]] * each
    media = [[torch.randn(shape) for _ in range(count)] for count in COUNTS]
    return ids, media, torch.randint(0, BASE, (len(ids), STEPS))


def padded(ids, side):
    """(ids, mask) with arbitrary ids at the padding."""
    width = max(map(len, ids))
    gaps = [width - len(row) for row in ids]
    if side == "left":
        full = [[7] * gap + row for gap, row in zip(gaps, ids, strict=True)]
        mask = [[0] * gap + [1] * len(row) for gap, row in zip(gaps, ids, strict=True)]
    else:
        full = [row + [7] * gap for gap, row in zip(gaps, ids, strict=True)]
        mask = [[1] * len(row) + [0] * gap for gap, row in zip(gaps, ids, strict=True)]
    return torch.tensor(full), torch.tensor(mask)


def alone(core, row, media):
    """Logits (T, V) of one row by itself, in one pass."""
    return core(torch.tensor([row]), **batch_media([media])).logits[0]


def given_media(media):
    """Media of the batch with a mask that says which are there."""
    given = batch_media(media)
    given.setdefault("media_mask", torch.arange(max(COUNTS)) < torch.tensor(COUNTS)[:, None])
    return given


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_a_padded_batch_equals_row_by_row(core, rows, side):
    ids, media, _ = rows
    full, mask = padded(ids, side)
    together = core(full, mask, (mask.cumsum(1) - 1).clamp_min(0), **batch_media(media)).logits
    for i, row in enumerate(ids):
        torch.testing.assert_close(together[i, mask[i].bool()], alone(core, row, media[i]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_cached_steps_of_a_padded_batch_equal_the_full_pass(core, rows, side):
    ids, media, further = rows
    full, mask = padded(ids, side)
    given, position = given_media(media), mask.cumsum(1) - 1
    output = core(full, mask, position.clamp_min(0), **given, use_cache=True)
    later = given if core.gated_prompts.reach == "row" else {}  # as generate does
    steps = []
    for token in further.split(1, dim=1):
        mask = torch.cat([mask, torch.ones_like(token)], dim=1)
        place = mask.sum(1, keepdim=True) - 1
        output = core(token, mask, place, past_key_values=output.past_key_values, use_cache=True, **later)
        steps.append(output.logits[:, -1])
    for i, row in enumerate(ids):
        expected = alone(core, row + further[i].tolist(), media[i])[-STEPS:]
        torch.testing.assert_close(torch.stack([step[i] for step in steps]), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_generated_rows_of_a_batch_equal_those_of_each_row_alone(core, rows):
    ids, media, _ = rows
    full, mask = padded(ids, "left")
    settings = {"max_new_tokens": STEPS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    together = core.generate(input_ids=full, attention_mask=mask, **batch_media(media), **settings)[:, -STEPS:]
    for i, row in enumerate(ids):
        given = {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)}
        one = core.generate(**given, **batch_media([media[i]]), **settings)[0, -STEPS:]
        assert together[i].tolist() == one.tolist()


def test_a_required_medium_is_asked_for_whatever_was_generated(core, rows):
    """Its span was never generated: the states of its tokens are read behind each row's own keys and values."""
    if not core.output_projections:
        pytest.skip("this form has no output projection")
    modality = next(iter(core.output_projections))
    ids, media, _ = rows
    counts = zip(ids, media, (5, 2, 1), strict=True)
    requests = [(Prepared(row, own), Sampling(count, required_modality=modality)) for row, own, count in counts]
    for row in generate(core, -1, requests):
        made = [condition for name, condition in row.conditions if name == modality and condition is not None]
        forced = forced_conditions(core, row.prepared.ids, row.prepared.media, row.reply_ids)[modality]
        assert made
        torch.testing.assert_close(torch.stack(made), torch.stack(forced), atol=1e-4, rtol=1e-4)
