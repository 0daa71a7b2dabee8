"""The unCLIP decoder around a tiny untrained pipeline of the real classes."""

import numpy as np
import pytest
import torch

from decoders.image import UnclipDecoder
from tests.tiny_unclip import build_unclip

EMBEDDING = 12


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "image_decoder"
    build_unclip(EMBEDDING).save_pretrained(folder)
    return UnclipDecoder.from_pretrained(folder)


def conditions(count):
    return 3 * torch.randn(count, 1, EMBEDDING, generator=torch.Generator().manual_seed(1))


def test_each_image_depends_on_its_embedding_and_seed_and_not_on_the_batch(decoder):
    first, second = decoder.decode(conditions(2), seeds=[1, 2], steps=2)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    (alone,) = decoder.decode(conditions(2)[1:], seeds=[2], steps=2)
    assert np.abs(alone.astype(int) - second).max() <= 1
    for other in (decoder.decode(conditions(2)[:1], seeds=[2], steps=2), decoder.decode(
        conditions(2)[1:], seeds=[3], steps=2
    )):  # fmt: skip
        assert np.abs(other[0].astype(int) - second).max() > 1


def test_it_is_the_pipelines_own_call_with_image_embeds(decoder):
    steps = []
    (ours,) = decoder.decode(
        conditions(1), seeds=[5], steps=3, guidance=4.0, on_step=lambda step, total: steps.append((step, total))
    )
    theirs = decoder.pipeline(
        image_embeds=conditions(1)[:, 0], prompt="", generator=torch.Generator().manual_seed(5),
        num_inference_steps=3, guidance_scale=4.0, output_type="np",
    ).images[0]  # fmt: skip
    assert np.abs(ours / 255 - theirs).max() < 1 / 255
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_pictures_give_the_conditions_to_aim_at(decoder):
    pictures = [np.full((40, 50, 3), value, np.uint8) for value in (0, 200)]
    found = decoder.embed_images(pictures)
    assert found.shape == (2, *decoder.condition_shape) == (2, 1, EMBEDDING)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_noise_loss_reaches_the_condition(prediction):
    decoder = UnclipDecoder(build_unclip(EMBEDDING, prediction))
    latents = decoder.encode_media([np.zeros((32, 32, 3), np.uint8)] * 2)
    condition = conditions(2).requires_grad_()
    loss = decoder.noise_loss(latents, condition)
    loss.backward()
    assert loss.ndim == 0 and loss > 0
    assert condition.grad.abs().amax(dim=(1, 2)).min() > 0
    assert all(part.grad is None for part in decoder.pipeline.unet.parameters())


def test_captions_and_other_widths_are_refused(decoder):
    with pytest.raises(ValueError, match="follows image embeddings, not captions"):
        decoder.encode_caption(["a dog"])
    with pytest.raises(ValueError, match=r"takes \(B, 1, 12\)"):
        decoder.decode(torch.zeros(1, 1, 13), seeds=[0])
