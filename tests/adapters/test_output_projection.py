"""Output projections: equal to NExT-GPT's on recorded tensors, values and gradients."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from adapters import LinearProjection, TransformerProjection

GOLDEN = Path(__file__).parents[1] / "golden/nextgpt"


@pytest.fixture(scope="module")
def golden():
    config = json.loads((GOLDEN / "out_transformer_img.json").read_text())["config"]
    return config, load_file(GOLDEN / "out_transformer_img.safetensors")


def test_parity_with_the_reference(golden):
    config, tensors = golden
    projection = TransformerProjection(
        config["hidden_size"],
        (config["num_query_token"], config["out"]),
        width=config["width"],
        encoder_layers=config["encoder_layers"],
        decoder_layers=config["decoder_layers"],
        heads=config["nhead"],
        feed_forward=config["dim_feedforward"],
    )
    projection.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("weights/")})
    hidden = tensors["inputs/h"].requires_grad_()
    output = projection(hidden, tensors["inputs/e"])
    torch.testing.assert_close(output, tensors["outputs/y"], atol=2e-5, rtol=0)
    (output * tensors["inputs/upstream"]).sum().backward()
    torch.testing.assert_close(hidden.grad, tensors["grads/h"], atol=1e-4, rtol=1e-4)
    gradients = {f"grads/{name}": p.grad for name, p in projection.named_parameters()}
    for name in tensors:
        if name.startswith("grads/") and name != "grads/h":
            torch.testing.assert_close(gradients[name], tensors[name], atol=1e-3, rtol=1e-4)


def test_a_linear_projection_reads_all_signal_states():
    projection = LinearProjection(4, (3, 5), signal_tokens=2)
    hidden, embedding = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    output = projection(hidden, embedding)
    assert output.shape == (2, 3, 5)
    for slot in range(2):
        changed = hidden.clone()
        changed[:, slot] += 1.0
        assert not torch.allclose(projection(changed, embedding), output)
