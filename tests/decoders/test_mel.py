"""The log-mel; it is held against NExT-GPT's own in tests/parity."""

import pytest
import torch

from decoders.mel import FLOOR, log_mel


def test_silence_is_the_floor():
    assert torch.allclose(log_mel(torch.zeros(2, 3200)), torch.tensor(FLOOR).log())


@pytest.mark.parametrize("shape", [(32_000,), (1, 100)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="expected"):
        log_mel(torch.zeros(shape))
