"""Mixing: the formula, its lengths, arithmetic, and refusals (2309.03905, Fig. 7)."""

import pytest
import torch
from torch.nn import functional

from adapters import VisualCache, image_embedding, mix


def test_the_formula_written_out():
    first, second = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    expected = (0.3 * torch.tensor([[0.6, 0.8]]) + 0.9 * torch.tensor([[0.0, 1.0]])) / (1.2 + 1e-6)
    torch.testing.assert_close(mix([first, second], [0.3, 0.9]), expected)
    torch.testing.assert_close(mix([first, second], [1, 1], normalise=False), (first + second) / 2, rtol=1e-5, atol=0)


def test_rows_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 8, generator=generator)
    rows = torch.cat([mix([first[i : i + 1], second[i : i + 1]], [2, 1]) for i in range(5)])
    torch.testing.assert_close(mix([first, second], [2, 1]), rows)


def test_a_negative_weight_takes_away():
    dog, snow = functional.one_hot(torch.tensor([0, 1]), 4).float()
    dog_in_snow = functional.normalize(dog + snow, dim=-1)
    without = functional.normalize(mix([dog_in_snow, snow], [1.0, -0.7]), dim=-1)
    assert without @ dog > 0.99


def test_picture_embeddings_keep_their_length():
    generator = torch.Generator().manual_seed(0)
    sound, cloud = torch.randn(2, 3, 12, generator=generator) * 9
    plain = image_embedding(["audio", "points"], [sound, cloud], [0.6, 0.4])
    torch.testing.assert_close(plain, 0.6 * sound + 0.4 * cloud / 5, rtol=1e-4, atol=1e-4)
    cache = VisualCache(torch.randn(40, 12, generator=generator), neighbours=3)
    turned = image_embedding(["audio", "points"], [sound, cloud], [0.6, 0.4], cache)
    torch.testing.assert_close(turned.norm(dim=-1), plain.norm(dim=-1))
    torch.testing.assert_close(functional.normalize(turned, dim=-1), cache(functional.normalize(plain, dim=-1)))


def test_bad_mixtures_are_named():
    vector = torch.ones(1, 3)
    with pytest.raises(ValueError, match="1 weights for 2 embeddings"):
        mix([vector, vector], [1.0])
    with pytest.raises(ValueError, match=r"sum to 0\.0: expected a positive sum"):
        mix([vector, vector], [1.0, -1.0])
    with pytest.raises(ValueError, match="not finite"):
        mix([vector, vector / 0 * 0], [1.0, 1.0])
    with pytest.raises(ValueError, match="at least one"):
        mix([], [])
