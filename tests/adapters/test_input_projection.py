"""Input projections: shapes, scale, and which placeholder reads what."""

import pytest
import torch

from adapters import INPUT_PROJECTIONS
from tests.nextgpt_lite.test_model import BASE, make_core

SETTINGS = {"linear": {}, "mlp": {"inner_width": 24}}


@pytest.mark.parametrize("name", INPUT_PROJECTIONS)
def test_shape_and_scale(name):
    torch.manual_seed(0)
    projection = INPUT_PROJECTIONS[name](16, 32, 3, input_scale=4.0, **SETTINGS[name])
    media = torch.nn.functional.normalize(torch.randn(2, 5, 16), dim=-1)
    before = projection(media)
    assert before.shape == (2, 5, 3, 32)
    projection.scale_output(0.25)
    torch.testing.assert_close(projection(media), 0.25 * before)


def core_with_input(gate=0.0):
    settings = {"input_projection": "mlp", "input_projection_settings": {"inner_width": 24}, "input_tokens": 2}
    return make_core(gate=gate, core=settings)


def test_each_placeholder_reads_its_own_medium():
    core = core_with_input()
    ids = torch.randint(0, BASE, (1, 12))
    ids[0, [2, 3]] = core.table.placeholders["image"]
    ids[0, [6, 7]] = core.table.placeholders["audio"]
    media = torch.randn(1, 2, 16)
    projected = core.input_projection(media)[0]  # (M, n, D)
    embedded = core.embed_media(core.find_media_slots(ids, media))[0]
    torch.testing.assert_close(embedded[[2, 3]], projected[0])
    torch.testing.assert_close(embedded[[6, 7]], projected[1])
    assert not embedded[[0, 1, 4, 5, 8, 9, 10, 11]].any()


def test_padding_media_change_nothing():
    core = core_with_input(gate=0.5)
    ids = torch.randint(0, BASE, (1, 12))
    ids[0, [2, 3]] = core.table.placeholders["image"]
    media = torch.randn(1, 1, 16)
    with torch.no_grad():
        alone = core(ids, media_embeddings=media).logits
        padded = core(ids, media_embeddings=torch.cat([media, torch.randn(1, 2, 16)], 1)).logits
    torch.testing.assert_close(alone, padded)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="telepathy"):
        make_core(core={"input_projection": "telepathy"})
