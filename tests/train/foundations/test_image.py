"""The image and video foundations: real classes at tiny size, each trained for a few steps and loaded back."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from data.toybox import HELD_OUT_PAIRS, TAG_WORDS, parse_tags, render, sample, thing_mask
from decoders.image import ImageDecoder, image_tensor
from decoders.video import VideoDecoder
from train.foundations.autoencoders.image_vae import ImageVaeTask
from train.foundations.autoencoders.vae import standardise_latents
from train.foundations.diffusion.captioned_flow import random_caption
from train.foundations.diffusion.image_diffusion import ImageDiffusionSettings, ImageDiffusionTask
from train.foundations.diffusion.video_diffusion import VideoDiffusionTask
from train.foundations.language.text_encoders import build_clip, build_clip_tokenizer
from train.foundations.pools import covered_cells
from train.worlds import ToyboxWorld

VAE = {"image_size": 32, "block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "pictures": 64, "held_out": 4}
SHARES = ImageDiffusionSettings(empty_share=0.1, full_share=0.3, pair_share=0.15, alone_share=0.1, attribute_share=0.6)


def train(task, steps=3, learning_rate=1e-3):
    """Losses of a few steps on every part; the parameters that were given to the optimiser."""
    parameters = [p for group in task.parts().values() for p in group]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate)
    losses = []
    for step in range(steps):
        loss = task.model(**task.collate([task.dataset[4 * step + i] for i in range(4)]))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    task.model.eval()
    return losses


def with_vae_and_text_encoder(folder):
    """A model folder with a VAE and a text encoder, as the image diffusion finds it."""
    torch.manual_seed(0)
    ImageVaeTask(VAE, folder).export(folder)
    tokenizer = build_clip_tokenizer(8, TAG_WORDS)
    build_clip(tokenizer, 32, 1).save_pretrained(folder / "text_encoders" / "clip")
    tokenizer.save_pretrained(folder / "text_encoders" / "clip_tokenizer")
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return with_vae_and_text_encoder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def image_task(model_dir):
    settings = {"pool": 12, "held_out": 4, "block_out_channels": (16, 16), "norm_num_groups": 4, "attention_heads": 2}
    return ImageDiffusionTask(settings | {"cache_dir": str(model_dir / "pools")}, model_dir)


def test_the_vae_learns_and_its_export_reconstructs_the_same(tmp_path):
    torch.manual_seed(0)
    task = ImageVaeTask(VAE, tmp_path)
    losses = train(task, steps=12, learning_rate=5e-3)
    assert losses[-1] < losses[0]
    pixels = image_tensor([task.dataset[i][0] for i in range(4)])
    with torch.no_grad():
        before = task.model.vae(pixels).sample
    task.export(tmp_path)
    loaded = AutoencoderKL.from_pretrained(tmp_path / "image_decoder" / "vae", dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels).sample, before, atol=0.02, rtol=0)
    assert task.evaluate()["picture_psnr"] > 0


def test_latents_are_standardised_without_changing_the_pictures(tmp_path):
    torch.manual_seed(0)
    task = ImageVaeTask(VAE, tmp_path)
    vae = task.model.vae
    pixels = image_tensor([task.dataset[i][0] for i in range(16)])
    with torch.no_grad():
        before = vae(pixels).sample
        standardise_latents(vae, pixels)
        latents = vae.encode(pixels).latent_dist.mean
        torch.testing.assert_close(vae(pixels).sample, before, atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


def test_what_a_thing_covers_weighs_more(tmp_path):
    torch.manual_seed(0)
    batch = ImageVaeTask(VAE, tmp_path)
    batch = batch.collate([batch.dataset[i] for i in range(4)])
    losses = {}
    for weight in (0.0, 50.0):
        model = ImageVaeTask(VAE | {"thing_weight": weight, "latent_noise": 0.0}, tmp_path).model
        vae = model.vae
        for parameter in vae.parameters():  # every picture is decoded to plain grey
            parameter.data.zero_()
        pixels = batch["mask"].expand(-1, 3, -1, -1)  # wrong where the thing is, right elsewhere
        losses[weight] = float(model(pixels, batch["mask"])["square"])
    assert losses[50.0] > 2 * losses[0.0]


def test_cells_that_a_thing_touches():
    scene = sample(0, 0)
    mask = thing_mask(scene, 32)
    cells = covered_cells(mask, 4)
    assert cells.shape == (4, 4) and 0 < cells.sum() < 16
    assert all(mask[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].any() for r, c in np.argwhere(cells))
    other = scene.with_(colour="green" if scene.colour == "pink" else "pink")
    changed = np.abs(render(scene, "image", 32).astype(int) - render(other, "image", 32)).max(-1) > 8
    assert changed.any() and mask[changed].all()


def test_every_tag_is_one_token_before_and_after_saving(tmp_path):
    tokenizer = build_clip_tokenizer(16, TAG_WORDS)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, CLIPTokenizer.from_pretrained(tmp_path)):
        assert each.model_max_length == 16
        ids = each(" ".join(TAG_WORDS)).input_ids[1:-1]
        assert each.convert_ids_to_tokens(ids) == list(TAG_WORDS)
        assert len(each("xylophone").input_ids) == len("xylophone") + 2


def test_captions_leave_attributes_out_and_say_nothing_wrong():
    rng = np.random.default_rng(0)
    captions, stream = [], ToyboxWorld().stream("image", 1)
    for index in range(400):
        scene = stream.scene(index)
        assert (scene.thing, scene.colour) not in HELD_OUT_PAIRS
        caption = random_caption(stream, index, rng, SHARES)
        truth = stream.attributes(index)
        assert all(truth[name] == value for name, value in parse_tags(caption).items())
        assert not caption or parse_tags(caption)["thing"] == scene.thing
        captions.append(len(parse_tags(caption)))
    shares = np.bincount(captions, minlength=7) / len(captions)
    assert 0.05 < shares[0] < 0.15 and shares[6] > 0.28 and 0.05 < shares[1] < 0.2


def test_image_diffusion_trains_the_unet_only_and_exports_a_decoder(image_task, model_dir):
    before = {name: value.clone() for name, value in image_task.model.named_parameters()}
    losses = train(image_task)
    assert np.isfinite(losses).all()
    for name, value in image_task.model.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith("text_encoder"), name
    assert set(image_task.evaluate()) == {"noise_loss", "noise_loss_misled"}
    image_task.export(model_dir)
    decoder = ImageDecoder.from_pretrained(model_dir / "image_decoder")
    assert decoder.condition_shape == (8, 32)
    (image,) = decoder.decode(decoder.encode_caption(["bell red"]), seeds=[0], steps=2)
    assert image.shape == (32, 32, 3)


def test_video_diffusion_grows_from_the_image_decoder_and_exports(image_task, model_dir):
    image_task.export(model_dir)
    settings = {"pool": 4, "held_out": 2, "motion_heads": 2, "cache_dir": str(model_dir / "pools")}
    task = VideoDiffusionTask(settings, model_dir)
    parts = task.parts()
    assert sum(p.numel() for p in parts["image"]) == sum(p.numel() for p in image_task.model.unet.parameters())
    assert np.isfinite(train(task)).all()
    task.export(model_dir)
    decoder = VideoDecoder.from_pretrained(model_dir / "video_decoder")
    (video,) = decoder.decode(decoder.encode_caption(["bell red spinning"]), seeds=[0], steps=2)
    assert video.shape == (8, 32, 32, 3)


def test_what_must_be_trained_first_is_named(tmp_path, model_dir):
    with pytest.raises(ValueError, match="train the recipe image_vae first"):
        ImageDiffusionTask({}, tmp_path)
    with pytest.raises(ValueError, match="unknown key 'poool'"):
        ImageDiffusionTask({"poool": 1}, model_dir)


def test_a_trained_unet_can_be_trained_on(image_task, model_dir):
    image_task.export(model_dir)
    further = ImageDiffusionTask(asdict(image_task.settings) | {"start": "image_decoder/unet"}, model_dir)
    for ours, theirs in zip(further.model.unet.parameters(), image_task.model.unet.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
