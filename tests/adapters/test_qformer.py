"""The Q-Former projection: any condition width, every signal is read. Numbers are held against NExT-GPT's in parity."""

import pytest
import torch

from adapters import OUTPUT_PROJECTIONS, LinearProjection, QFormerProjection
from adapters.output_projection import from_legacy_names
from tests.nextgpt_lite.test_model import make_core

SIZES = {"width": 16, "heads": 2, "layers": 3, "feed_forward": 24}


@pytest.mark.parametrize("every", [1, 2])
def test_the_condition_may_be_wider_than_the_qformer(every):
    torch.manual_seed(0)
    projection = QFormerProjection(12, (5, 40), **SIZES, cross_attention_every=every)
    crossing = [layer.crossattention is not None for layer in projection.Qformer["bert"]["encoder"]["layer"]]
    assert crossing == ([True] * 3 if every == 1 else [True, False, True])
    hidden, embedding = torch.randn(2, 4, 12), torch.randn(2, 4, 12)
    plain = projection(hidden, embedding)
    assert plain.shape == (2, 5, 40)
    for slot in range(4):
        changed = hidden.clone()
        changed[0, slot] += 1.0
        other = projection(changed, embedding)
        assert not torch.allclose(other[0], plain[0]) and torch.equal(other[1], plain[1])


def test_names_of_the_first_release():
    state = QFormerProjection(12, (5, 40), **SIZES).state_dict()
    legacy = {name.replace("in_fc.", "fc.").replace("out_fc.", "model."): value for name, value in state.items()}
    assert from_legacy_names(legacy).keys() == state.keys()
    assert from_legacy_names(state).keys() == state.keys()


def test_a_linear_projection_stays_small_at_the_papers_sizes():
    with torch.device("meta"):
        projection = LinearProjection(4096, (77, 1024), signal_tokens=24)
    assert sum(p.numel() for p in projection.parameters()) < 5e6


@pytest.mark.parametrize("name", OUTPUT_PROJECTIONS)
def test_every_projection_works_in_the_core(name):
    settings = {
        "transformer": {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 32},
        "qformer": SIZES,
        "linear": {},
        "reading": {"words": 4, "width": 16, "encoder_layers": 1, "decoder_layers": 1, "feed_forward": 32},
    }[name]
    core = make_core(core={"output_projection": name, "output_projection_settings": settings})
    ids = torch.randint(0, core.table.first, (2, 10))
    ids[0, 3:6] = ids[1, :3] = torch.tensor(list(core.table.spans["video"]))
    conditions = core.conditions(ids, core(ids).last_hidden_state, "video")
    assert conditions.shape == (2, 5, 12)
    conditions.sum().backward()
    assert all(p.grad is not None for p in core.output_projections["video"].parameters())
