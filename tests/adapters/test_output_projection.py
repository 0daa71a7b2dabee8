"""The linear output projection; NExT-GPT's own forms are held against recorded tensors in tests/parity."""

import torch

from adapters import LinearProjection


def test_a_linear_projection_reads_all_signal_states():
    projection = LinearProjection(4, (3, 5), signal_tokens=2)
    hidden, embedding = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    output = projection(hidden, embedding)
    assert output.shape == (2, 3, 5)
    for slot in range(2):
        changed = hidden.clone()
        changed[:, slot] += 1.0
        assert not torch.allclose(projection(changed, embedding), output)
