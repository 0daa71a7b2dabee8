"""The critic of pictures and what it is used for: a perceptual loss, refining the UNet, sharpening the VAE."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from decoders.image import encode_images
from decoders.image_critic import UNKNOWN, ImageCritic, load_critic
from tests.train.foundations.test_image import VAE, with_vae_and_text_encoder
from train.foundations.autoencoders.image_sharpening import ImageSharpeningTask
from train.foundations.autoencoders.image_vae import ImageVaeTask
from train.foundations.classifiers.image_critic import ImageCriticTask
from train.foundations.diffusion.image_diffusion import ImageDiffusionTask, ImageRefinementTask

UNET = {"pool": 12, "held_out": 4, "block_out_channels": (16, 16), "norm_num_groups": 4, "attention_heads": 2}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A model folder with a VAE, a text encoder, a critic and an image decoder, none of which knows anything yet."""
    return untrained_model(tmp_path_factory.mktemp("model"))


def untrained_model(path):
    folder = with_vae_and_text_encoder(path)
    critic_task(folder).export(folder)
    ImageDiffusionTask(UNET | {"cache_dir": str(folder / "pools")}, folder).export(folder)
    return folder


def critic_task(folder):
    settings = {"pool": 48, "held_out": 8, "size": 32, "cache_dir": str(folder / "pools")}
    return ImageCriticTask(settings, folder)


def refinement(folder, **settings):
    return ImageRefinementTask(UNET | {"looks": 3, "cache_dir": str(folder / "pools")} | settings, folder)


def batch_of(task, count=4):
    return task.collate([task.dataset[index] for index in range(count)])


def test_the_critic_learns_to_read_pictures(model_dir):
    torch.manual_seed(0)
    task = critic_task(model_dir)
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = task.model(**batch_of(task, 16))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    names = task.model.critic.attributes
    assert set(task.evaluate()) == {f"{kind}_{name}" for kind in ("drawn", "rough") for name in names}


def test_the_critic_comes_back_as_it_was_saved(model_dir, tmp_path):
    critic = load_critic(model_dir)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    critic.save_pretrained(tmp_path / "image_critic")
    for name, scores in load_critic(tmp_path).scores(pixels).items():
        torch.testing.assert_close(scores, critic.scores(pixels)[name])
    with pytest.raises(ValueError, match="train the recipe image_critic first"):
        load_critic(tmp_path / "nowhere")


def test_what_a_caption_leaves_out_is_not_asked_of_a_picture():
    torch.manual_seed(0)
    critic = ImageCritic({"thing": ("bell", "drum"), "colour": ("red", "blue")}, 32)
    pixels = torch.rand(2, 3, 32, 32)
    known = torch.tensor([critic.classes({"thing": "drum"})] * 2)
    assert known.tolist() == [[1, UNKNOWN]] * 2
    loss, right = critic.classification_loss(pixels, known)
    loss.backward()
    assert critic.heads["thing"].weight.grad.abs().sum() > 0 and not critic.heads["colour"].weight.grad.any()
    assert right[1].isnan()


def test_distance_is_none_between_equals_and_falls_on_what_is_weighted(model_dir):
    critic = load_critic(model_dir)
    real = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    other = real.clone()
    other[..., :8, :8] = 1 - other[..., :8, :8]
    here, there = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    here[..., :8, :8], there[..., 24:, 24:] = 1, 1
    assert critic.distance(real, real) == 0
    assert critic.distance(other, real, here) > 10 * critic.distance(other, real, there)


def test_the_vae_learns_by_the_eyes_of_the_critic(model_dir):
    torch.manual_seed(0)
    settings = VAE | {"perceptual_weight": 1.0, "latent_noise": 0.5, "noise_up_to": True, "start": "image_decoder/vae"}
    task = ImageVaeTask(settings, model_dir)
    parts = task.model(**batch_of(task))
    assert parts["perceptual"] > 0
    parts["loss"].backward()
    assert all(p.grad is None for p in task.model.critic.parameters())


def test_refinement_moves_the_unet_towards_what_the_critic_sees(model_dir):
    torch.manual_seed(0)
    task = refinement(model_dir, looks_weight=10.0)
    batch = batch_of(task)
    assert batch["pixels"].shape == (3, 3, 32, 32) and batch["mask"].shape == (3, 1, 32, 32)
    optimiser = torch.optim.AdamW(task.parts()["unet"], lr=3e-3)
    seen = []
    for _ in range(12):
        torch.manual_seed(1)  # the same noise: the critic is to be pleased by the UNet alone
        parts = task.model(**batch)
        parts["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        seen.append(float(parts["perceptual"]))
    assert seen[-1] < seen[0]
    assert all(p.grad is None for part in (task.model.critic, task.model.vae) for p in part.parameters())


def test_a_guess_is_the_picture_where_the_velocity_is_right(model_dir):
    task = refinement(model_dir)
    batch = batch_of(task)
    latents = batch["latents"][:3]
    torch.manual_seed(0)
    task.flow.velocity = lambda noisy, timestep, _: (noisy - latents) / (timestep / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(task.model.estimate(latents, batch["input_ids"][:3]), latents, atol=1e-4, rtol=0)


def test_a_refined_decoder_is_exported_and_measured_like_any_other(model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    task = refinement(tmp_path / "model")
    assert set(task.evaluate()) == {"noise_loss", "noise_loss_misled"}
    task.export(tmp_path / "model")
    refinement(tmp_path / "model")


SHARP = {"redrawn": 6, "perceptual_weight": 0.5, "latent_noise": 0.4, "noise_up_to": True}


def sharpening(folder, **settings):
    return ImageSharpeningTask(VAE | SHARP | {"cache_dir": str(folder / "pools")} | settings, folder)


def test_a_picture_that_is_hardly_noised_is_redrawn_as_it_was(model_dir):
    task = sharpening(model_dir, least_level=0.001, most_level=0.001)
    _, _, picture, _, latents = task.dataset[1]
    expected = encode_images(task.model.vae, [picture])[0]
    torch.testing.assert_close(torch.from_numpy(latents).float(), expected, atol=0.05, rtol=0)


def test_redrawing_follows_the_caption_and_the_noise_level(model_dir):
    task = sharpening(model_dir)
    pictures = np.stack([task.dataset[row][2] for row in range(2)])

    def redrawn(captions, level):
        task.settings = replace(task.settings, least_level=level, most_level=level, guidance=8.0)
        return task.redraw(pictures, captions, torch.Generator().manual_seed(0))

    bells, drums = redrawn(["bell red"] * 2, 0.6), redrawn(["drum blue"] * 2, 0.6)
    assert not torch.equal(bells, drums)
    clean = encode_images(task.model.vae, pictures)
    near, far = redrawn(["bell red"] * 2, 0.1), redrawn(["bell red"] * 2, 0.9)
    assert (near - clean).norm() < (far - clean).norm()


def test_sharpening_moves_the_decoder_and_what_it_is_given_counts(model_dir, tmp_path):
    torch.manual_seed(0)
    task = sharpening(model_dir)
    batch = batch_of(task)
    assert batch["pixels"].shape == (8, 3, 32, 32) and batch["given"].shape == (4, 4, 4, 4)
    optimiser = torch.optim.AdamW(task.parts()["decoder"], lr=1e-3)
    losses = []
    for _ in range(10):
        torch.manual_seed(1)
        loss = task.model(**batch)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    torch.manual_seed(1)
    assert task.model(**batch | {"given": -batch["given"]})["loss"].item() != pytest.approx(loss.item())
    task.export(tmp_path)
    assert (tmp_path / "image_decoder/vae/config.json").is_file()
