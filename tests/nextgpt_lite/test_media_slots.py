"""Media enter the core: which placeholder reads what, padding that has no effect, what is refused and why."""

import pytest
import torch

from nextgpt_lite.media_slots import batch_media
from tests.nextgpt_lite.test_model import BASE, make_core

GROUP = {"inner_width": 16, "depths": [1, 1], "heads": 2, "group_tokens": [4, 0], "groups": [3]}
PATCHES = {
    "mlp2x_gelu": {"input_tokens": {"image": 5, "audio": 3}},
    "linear": {"input_tokens": {"image": 5, "audio": 3}},
    "group": {"input_tokens": 3, "input_projection_settings": GROUP},
}


def patch_core(name="mlp2x_gelu", **prompts):
    return make_core(core={"input_features": "patches", "input_projection": name, **PATCHES[name]}, **prompts)


def media_of(*modalities):
    """Patch tokens: five of an image, three of a sound."""
    return [torch.randn({"image": 5, "audio": 3}[modality], 16) for modality in modalities]


def ids_of(core, *modalities):
    """A row with the placeholders of its media between words."""
    counts = core.table.input_tokens
    row = torch.randint(0, BASE, (2,)).tolist()
    for modality in modalities:
        count = counts if isinstance(counts, int) else counts[modality]
        row += [core.table.placeholders[modality]] * count + torch.randint(0, BASE, (2,)).tolist()
    return row


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("prompts", [{"media_tokens": 0}, {"media_tokens": 1}, {"media_tokens": 1, "reach": "row"}])
@torch.no_grad()
def test_a_batch_of_mixed_media_equals_row_by_row(name, prompts):
    core = patch_core(name, **prompts)
    assert (core.bind_network is None) == (prompts["media_tokens"] == 0)
    wanted = [("image", "audio"), (), ("audio",)]
    rows, media = [ids_of(core, *row) for row in wanted], [media_of(*row) for row in wanted]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    together = core(ids, mask, (mask.cumsum(1) - 1).clamp_min(0), **batch_media(media)).logits
    for i, row in enumerate(rows):
        alone = core(torch.tensor([row]), **batch_media([media[i]])).logits[0]
        torch.testing.assert_close(together[i, -len(row) :], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_each_patch_is_read_at_its_own_placeholder():
    core = patch_core(media_tokens=0)
    media, row = media_of("image", "audio"), ids_of(core, "image", "audio")
    ids, given = torch.tensor([row]), batch_media([media])
    embedded = core.embed_media(core.find_media_slots(ids, **given))
    here = core.table.placeholder_mask(ids)[0]
    torch.testing.assert_close(embedded[0, here], core.input_projection(torch.cat(media)[None])[0])
    assert not embedded[0, ~here].any()


@pytest.mark.parametrize("patches", [False, True], ids=["pooled", "patches"])
@torch.no_grad()
def test_padding_has_no_effect_whatever_it_holds(patches):
    core = patch_core() if patches else make_core(core={"input_projection": "linear"})
    counts = ("audio", "image") if patches else ("audio",)
    rows = [ids_of(core, *counts), ids_of(core, *counts[:1])]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    media = [media_of(*counts), media_of(*counts[:1])] if patches else [[torch.randn(16)], [torch.randn(16)]]
    given = batch_media(media)
    plain = core(ids, mask, **given).logits
    other_ids = ids.masked_fill(mask == 0, 7)
    filled = given | {"media_embeddings": given["media_embeddings"].clone()}
    if patches:
        filled["media_embeddings"][~given["media_mask"]] = float("nan")
    else:
        filled = {"media_embeddings": torch.cat([filled["media_embeddings"], torch.full((2, 2, 16), float("nan"))], 1)}
    other = core(other_ids, mask, **filled).logits
    torch.testing.assert_close(plain[mask.bool()], other[mask.bool()], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_media_that_stand_nowhere_in_the_text_are_seen_by_their_rows():
    """Without placeholders the mask alone says which rows have media: a batch equals row by row."""
    core = make_core(core={"input_tokens": 0}, media_tokens=1, reach="row")
    core.gated_prompts.media_gate.fill_(0.7)
    ids, media = torch.randint(0, BASE, (2, 5)), [[torch.randn(16), torch.randn(16)], [torch.randn(16)]]
    together = core(ids, **batch_media(media)).logits
    for i, row in enumerate(media):
        torch.testing.assert_close(together[i], core(ids[i : i + 1], **batch_media([row])).logits[0])
    assert not torch.allclose(together, core(ids).logits, atol=1e-4)


def test_values_that_are_not_finite_are_refused_where_they_enter():
    core = make_core()
    ids = torch.tensor([ids_of(core, "image", "image")])
    media = torch.randn(1, 2, 16)
    media[0, 1, 3] = float("nan")
    with pytest.raises(ValueError, match="medium 1 of row 0 holds values that are not finite"):
        core(ids, media_embeddings=media)


@pytest.mark.parametrize("shape", [(1, 1, 8), (1, 1, 4, 16)])
def test_an_embedding_of_another_encoder_is_refused(shape):
    core = make_core()
    with pytest.raises(ValueError, match=r"this model's encoder gives \(16,\)"):
        core(torch.tensor([ids_of(core, "image")]), media_embeddings=torch.randn(shape))


def test_placeholders_without_a_medium_are_refused():
    core = make_core()
    with pytest.raises(ValueError, match="row 0 has 2 placeholders, but its media give 1 tokens"):
        core(torch.tensor([ids_of(core, "image", "image")]), media_embeddings=torch.randn(1, 1, 16))


def test_a_projection_that_gives_another_number_of_tokens_is_refused():
    settings = {"input_features": "patches", "input_projection": "group", "input_projection_settings": GROUP}
    with pytest.raises(ValueError, match="gives 3 tokens a medium, input_tokens is 4"):
        make_core(core=settings | {"input_tokens": 4})


def test_a_projection_of_embeddings_cannot_read_a_tower():
    with pytest.raises(ValueError, match="media come in as tokens: expected input_features 'patches'"):
        make_core(core={"input_projection": "linear", "visual": {"inner_width": 16, "heads": 2}})


def test_unknown_kinds_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown kind of input features 'smells': expected one of pooled, patches"):
        make_core(core={"input_features": "smells", "input_projection": "linear"})
