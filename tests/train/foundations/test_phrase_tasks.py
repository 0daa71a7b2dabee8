"""The tasks whose UNet reads phrases and is shown pictures learn, and export what draws images and videos."""

import shutil

import numpy as np
import pytest
import torch

from data.parts import VARIABLE
from data.poses import Pose
from data.things.motion_rendering import FRAME_RATE, FRAMES
from decoders import load_decoder
from decoders.layout import POSE, Put, read_pose
from decoders.phrase_animation import PhraseAnimationDecoder
from decoders.phrases import NOTHING, SLOTS
from decoders.shown_input import FILE, ShownInput
from tests.tiny_parts import write_parts
from train.foundations.autoencoders.vae import build_residual_vae
from train.foundations.diffusion.layout import LayoutTask
from train.foundations.diffusion.phrase_diffusion import PhraseDiffusionTask
from train.foundations.diffusion.phrase_video import PhraseVideoTask
from train.foundations.diffusion.video_layout import VideoLayoutTask

SIDE, CHANNELS = 32, 4
UNET = {"block_out_channels": [16, 16], "norm_num_groups": 8, "attention_heads": 2}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """An image and a video decoder of the real classes, trained for a step, with their layouts."""
    folder, cache = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("cache")
    write_parts(cache)
    torch.manual_seed(0)
    build_residual_vae((8, 16), CHANNELS, SIDE).save_pretrained(folder / "image_decoder" / "vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(cache))
        pools = {"cache_dir": str(cache / "pools"), "pool": 4, "held_out": 2}
        for task in (
            PhraseDiffusionTask(pools | UNET | {"bare_share": 0.5}, folder),
            LayoutTask({"held_out": 2}, folder),
        ):
            step(task)
            task.export(folder)
        for task in (VideoLayoutTask({"held_out": 2}, folder), PhraseVideoTask(pools, folder)):
            step(task)
            task.export(folder)
            if isinstance(task, VideoLayoutTask):
                shutil.copytree(folder, cache / "animated")
        (folder / "animated").symlink_to(cache / "animated")
        yield folder


def step(task) -> None:
    optimiser = torch.optim.Adam([parameter for part in task.parts().values() for parameter in part], lr=1e-3)
    task.model(**task.collate([task.dataset[index] for index in range(2)]))["loss"].backward()
    optimiser.step()


def test_images_are_drawn_from_what_was_exported(model_dir):
    decoder = load_decoder(model_dir / "image_decoder")
    condition = decoder.encode_caption(["a red cat on the left"])
    assert condition.shape == (1, SLOTS, 24) and decoder.condition_shape == (SLOTS, 24)
    assert decoder.decode(condition, seeds=[1], steps=2)[0].shape == (SIDE, SIDE, 3)


def test_what_is_shown_comes_in_beside_the_latents(model_dir):
    for modality in ("image", "video"):
        assert (model_dir / f"{modality}_decoder" / FILE).is_file()
        unet = load_decoder(model_dir / f"{modality}_decoder").network
        shown = ShownInput(unet).attach(unet)  # beside the decoder's own
        frames = 1 if modality == "image" else 2
        cells = unet.config.sample_size
        shape = (1, CHANNELS, *([frames] if frames > 1 else []), cells, cells)
        prompt = torch.randn(frames, cells**2 + SLOTS, unet.config.cross_attention_dim)
        with torch.no_grad():
            before = unet(torch.ones(shape), 500, encoder_hidden_states=prompt).sample
            torch.nn.init.normal_(shown.projection.weight)
            after = unet(torch.ones(shape), 500, encoder_hidden_states=prompt).sample
        assert before.shape == shape and not torch.allclose(before, after)


def test_videos_follow_seeds_and_conditions_alone(model_dir):
    decoder = load_decoder(model_dir / "video_decoder")
    assert decoder.rate == FRAME_RATE
    conditions = decoder.encode_caption(["a red cat that spins", "a dog that moves to the right"])
    videos = decoder.decode(conditions, seeds=[1, 2], steps=2)
    assert [video.shape for video in videos] == [(FRAMES, SIDE, SIDE, 3)] * 2
    again = decoder.decode(conditions[1:], seeds=[2], steps=2)[0]
    assert np.abs(again.astype(int) - videos[1]).max() <= 1


def test_without_a_network_in_time_pictures_move_over_an_image(model_dir):
    decoder = load_decoder(model_dir / "animated" / "video_decoder")
    assert isinstance(decoder, PhraseAnimationDecoder) and decoder.rate == FRAME_RATE
    [video] = decoder.decode(decoder.encode_caption(["a red cat that spins"]), seeds=[1], steps=2)
    assert video.shape == (FRAMES, SIDE, SIDE, 3)
    assert not isinstance(load_decoder(model_dir / "video_decoder"), PhraseAnimationDecoder)


def test_each_frame_is_shown_its_own_pictures(model_dir):
    decoder = load_decoder(model_dir / "video_decoder")
    decoder.layout.thing.bias.data.copy_(torch.tensor([9.0, 0, 0, 0]))  # every box holds the first thing
    [frames] = decoder.show(decoder.encode_caption(["a cat that moves to the right"]))
    assert len(frames) == FRAMES
    prompt = decoder.prompt(decoder.encode_caption(["a cat"]), decoder.unconditional())
    own = decoder.network.config.sample_size**2 + SLOTS
    assert prompt["prompt_embeds"].shape[1] == FRAMES * own
    seen = []
    block = decoder.network.down_blocks[0].attentions[0]
    watched = block.register_forward_pre_hook(
        lambda _, __, keywords: seen.append(keywords["encoder_hidden_states"]), with_kwargs=True
    )
    decoder.decode(decoder.encode_caption(["a cat"]), seeds=[1], steps=1)
    watched.remove()
    assert seen[0].shape[:2] == (2 * FRAMES, own)  # without guidance and with it, each frame its own tokens
    expected = prompt["prompt_embeds"].unflatten(1, (FRAMES, own))[0]
    assert torch.allclose(seen[0][FRAMES:], expected, atol=1e-5)


def test_poses_are_numbers_and_back():
    pose = read_pose([0.2, 0.3, -0.4, 0.5, 0.0, -1.0, 0.0])
    assert (pose.x, pose.wide, pose.degrees, pose.opacity) == (0.2, -0.4, 180.0, 0.5) and POSE == 7
    turned = Put.posed(Pose(0.5, 0.5, 0.2, 0.4, degrees=90), 0, None)
    assert turned.box == (0.5, 0.5, 0.4, 0.4)


def test_a_layout_of_videos_is_measured(model_dir):
    task = VideoLayoutTask({"held_out": 4}, model_dir)
    figures = task.evaluate()
    assert set(figures) >= {"number"} and 0 <= figures["number"] <= 1


def test_some_images_are_of_a_background_alone(model_dir, tmp_path):
    pools = {"cache_dir": str(tmp_path), "pool": 4, "bare_share": 1.0}
    task = PhraseDiffusionTask(pools | UNET, model_dir)
    items = [task.dataset[index] for index in range(32)]
    captions = {caption for _, _, caption, _ in items}
    assert NOTHING in captions and f"{NOTHING}, in a meadow" in captions
    assert all(shown is None for *_, shown in items) and items[0][0].shape == task.pool.latents(task.vae)[0].shape
