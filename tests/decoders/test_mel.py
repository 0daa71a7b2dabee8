"""The log-mel against a reference computed by NExT-GPT's own code."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from decoders.mel import BANDS, FLOOR, HOP, log_mel

GOLDEN = Path(__file__).parents[1] / "golden" / "nextgpt"


def test_matches_the_reference():
    case = json.loads((GOLDEN / "audioldm_logmel.json").read_text())
    expected = load_file(GOLDEN / "audioldm_logmel.safetensors")["outputs/sine_logmel_sub4"]  # every fourth frame
    sine = torch.sin(torch.arange(163_840) * 0.05) * 0.4
    mel = log_mel(sine[None])
    assert mel.shape == (1, 163_840 // HOP, BANDS)
    torch.testing.assert_close(mel[0, ::4], expected, atol=float(case["tolerance"]["fp32"]), rtol=0)


def test_silence_is_the_floor():
    assert torch.allclose(log_mel(torch.zeros(2, 3200)), torch.tensor(FLOOR).log())


@pytest.mark.parametrize("shape", [(32_000,), (1, 100)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="expected"):
        log_mel(torch.zeros(shape))
