"""Captions as phrases, and images from them: a tiny pipeline of the real classes that is shown pictures."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from data.atomic import write_json
from decoders import load_decoder
from decoders.diffusion import flow_scheduler
from decoders.layout import GREY, LAYOUT, LayoutConfig, LayoutNetwork, Pictures, Put, cells_of, paste, save_layout
from decoders.phrase_animation import PhraseAnimationDecoder
from decoders.phrase_decoder import POSITION, prompt_tokens
from decoders.phrase_image import PhraseImageDecoder
from decoders.phrases import NOTHING, SLOTS, THINGS, clear_phrases, embed_captions, split_caption

WIDTH, CHANNELS, SIDE = 12, 4, 32


def embed(texts: list[str]) -> torch.Tensor:
    """A vector of its own for each text."""
    made = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
    return torch.nn.functional.normalize(torch.stack(made), dim=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    width = WIDTH + CHANNELS + POSITION + SLOTS
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(16,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=width,
    )
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    sizes = {"block_out_channels": (4, 8, 8), "latent_channels": CHANNELS, "norm_num_groups": 4, "sample_size": SIDE}
    vae = AutoencoderKL(**blocks, **sizes, scaling_factor=1.0, mid_block_add_attention=False)
    nothing = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    pipeline = StableDiffusionPipeline(
        vae=vae, unet=unet, scheduler=flow_scheduler(), requires_safety_checker=False, **nothing
    )
    out = tmp_path_factory.mktemp("decoder")
    pipeline.save_pretrained(out)
    write_json(out / "decoder.json", {"conditions": "phrases"})
    (out / LAYOUT).mkdir()
    network = LayoutNetwork(LayoutConfig(width=WIDTH, inner=16, depth=1, heads=2, boxes=2))
    names = ["cat", "dog"]
    pixels = np.full((2, 16, 16, 4), 255, dtype=np.uint8)
    save_layout(out / LAYOUT, network, Pictures(names, embed(names), pixels))
    return out


@pytest.fixture(scope="module")
def decoder(folder) -> PhraseImageDecoder:
    decoder = load_decoder(folder)
    assert isinstance(decoder, PhraseImageDecoder)
    decoder.embed = embed
    return decoder


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        (
            "a small red cat at the top left, in a meadow",
            ["red cat", "small at the top left", *[""] * 5, "in a meadow"],
        ),
        ("Three green frogs.", ["green frogs", *[""] * 5, "three", ""]),
        (
            "a red cat on the left and an owl on the right, in front of the night sky",
            ["red cat", "on the left", "owl", "on the right", "", "", "", "in front of the night sky"],
        ),
        ("a pair of glasses, some corn and the sun", ["pair of glasses", "", "corn", "", "sun", "", "", ""]),
        ("dogs under a tree", ["dogs", *[""] * 6, "under a tree"]),
        ("a black cat in the middle", ["black cat", "in the middle", *[""] * 6]),
        ("", [""] * SLOTS),
        (
            "a red cat on the left that spins and some animated notes on the right, in a room",
            ["red cat", "on the left spins", "animated notes", "on the right", "", "", "", "in a room"],
        ),
        ("three short notes on a tuba, slow and loud", ["tuba", "short notes", *[""] * 4, "three", "slow and loud"]),
        ("a note by a choir", ["choir", "note", *[""] * 4, "one", ""]),
        ("a dog that barks twice, soft", ["dog", "barks", *[""] * 4, "twice", "soft"]),
        ("a ship that blows its horn", ["ship", "blows its horn", *[""] * 6]),
        ("a cat that moves in a circle, in a room", ["cat", "moves in a circle", *[""] * 5, "in a room"]),
    ],
)
def test_a_caption_is_split_into_its_phrases(caption, phrases):
    assert split_caption(caption) == phrases


def test_each_phrase_has_its_vector_and_silence_has_none():
    conditions = embed_captions(["a cat on the left", ""], embed)
    assert conditions.shape == (2, SLOTS, WIDTH)
    assert torch.allclose(conditions[0, :2], embed(["cat", "left"]))
    both = torch.nn.functional.normalize(embed(["small", "left"]).sum(0), dim=0)
    assert torch.allclose(embed_captions(["a small cat on the left"], embed)[0, 1], both)
    assert not conditions[0, 2:].any() and not conditions[1].any()


def test_pictures_are_pasted_where_their_boxes_are():
    pixels = np.zeros((1, 8, 8, 4), dtype=np.uint8)
    pixels[..., 0] = pixels[..., 3] = 255
    puts = [Put((0.25, 0.25, 0.5, 0.5), 1, 0), Put((0.75, 0.75, 0.5, 0.5), 0, None)]
    canvas = paste(pixels, puts, 32)
    assert (canvas[2:14, 2:14] == (255, 0, 0)).all() and (canvas[18:, 18:] == GREY).all()
    owner = cells_of(puts, 8)
    assert owner[1, 1] == 1 and owner[6, 6] == 0 and owner[0, 7] == -1


def test_images_follow_seeds_and_conditions(decoder):
    conditions = decoder.encode_caption(["a cat", "a dog on the left"])
    assert decoder.condition_shape == conditions.shape[1:]
    images = decoder.decode(conditions, seeds=[1, 2], steps=2)
    assert [image.shape for image in images] == [(SIDE, SIDE, 3)] * 2
    again = decoder.decode(conditions[1:], seeds=[2], steps=2)[0]
    assert np.abs(images[1].astype(int) - again).max() <= 1
    assert not np.array_equal(again, decoder.decode(conditions[:1], seeds=[2], steps=2)[0])


def test_what_is_shown_joins_the_condition(decoder):
    config = decoder.network.config
    condition = decoder.encode_caption(["a cat"])
    decoder.layout.thing.bias.data = torch.tensor([9.0] + [0.0] * THINGS)  # every box holds the first thing
    decoder.layout.name[-1].weight.data.zero_(), decoder.layout.name[-1].bias.data.zero_()
    shown = decoder.show(condition)[0]
    tokens, without = (prompt_tokens(condition, each, config) for each in (shown, [None]))
    assert tokens.shape == (1, SLOTS + 64, WIDTH + CHANNELS + POSITION + SLOTS)
    assert torch.equal(tokens[:, :SLOTS], without[:, :SLOTS]) and not without[:, SLOTS:].any()
    assert torch.equal(without, prompt_tokens(condition, None, config))
    named = tokens[0, SLOTS:, :WIDTH].any(-1)
    assert torch.equal(named, torch.from_numpy(shown[0].owner.reshape(-1) == 0)) and named.any()
    assert torch.allclose(tokens[0, SLOTS:][named][0, :WIDTH], condition[0, 0])


def test_tokens_without_pictures_are_traced_with_any_batch(decoder):
    class Tokens(torch.nn.Module):
        def forward(self, condition):
            return prompt_tokens(condition, None, decoder.network.config)

    shapes = {"condition": {0: torch.export.Dim.DYNAMIC}}
    traced = torch.export.export(Tokens(), (torch.randn(2, *decoder.condition_shape),), dynamic_shapes=shapes)
    condition = torch.randn(5, *decoder.condition_shape)
    assert torch.equal(traced.module()(condition), prompt_tokens(condition, None, decoder.network.config))


def test_an_added_picture_is_found_by_its_name(decoder):
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    more = decoder.pictures.added("teapot", embed(["teapot"])[0], picture)
    assert more.nearest(embed(["teapot"])[0]) == (2, pytest.approx(1.0, abs=1e-5))
    assert more.pixels[2, 8, 8].tolist() == [0, 0, 0, 255] and len(decoder.pictures.names) == 2


def test_phrases_are_said_or_not():
    condition = torch.zeros(1, SLOTS, WIDTH)
    condition[0, 0, 0], condition[0, 1, 1] = 0.4, 0.1
    clear = clear_phrases(condition)[0]
    assert clear[0].norm() == pytest.approx(1.0) and not clear[1:].any()


def test_known_pictures_are_laid_over_what_is_drawn_in_the_colour_that_is_asked_for(decoder, monkeypatch):
    monkeypatch.setattr(decoder, "settings", replace(decoder.settings, collage=True))
    placed = [[Put((0.25, 0.5, 0.4, 0.4), 0, 0), Put((0.75, 0.5, 0.4, 0.4), 1, None)]]
    monkeypatch.setattr("decoders.phrase_decoder.put_pictures", lambda layout, pictures, phrases: placed)
    red, plain = decoder.encode_caption(["a red cat and a dog", "a cat and a dog"])
    images = decoder.decode(torch.stack([red, plain]), seeds=[1, 1], steps=2)
    r, g, b = (int(value) for value in images[0][16, 8])
    assert r > 150 and g < 120 and b < 120 and (images[1][16, 8] > 240).all()
    assert np.array_equal(images[0][:, 20:], images[1][:, 20:]), "the dog, of which no picture is known, is drawn"


@pytest.fixture(scope="module")
def animation(folder, tmp_path_factory) -> PhraseAnimationDecoder:
    """The same network, with a layout of three frames: the first thing of a caption goes from left to right."""
    out = tmp_path_factory.mktemp("animation") / "decoder"
    shutil.copytree(folder, out)
    write_json(out / "decoder.json", {"conditions": "phrases", "animated": True, "collage": True})
    network = LayoutNetwork(LayoutConfig(width=WIDTH, inner=16, depth=1, heads=2, boxes=1, frames=3))
    for layer in (network.box, network.thing, network.name[-1]):
        torch.nn.init.zeros_(layer.weight)
    poses = [[x, 0.5, 0.25, 0.25, 0.0, 1.0, 9.0] for x in (0.2, 0.5, 0.8)]
    network.box.bias.data = torch.tensor(poses).flatten()
    network.thing.bias.data = torch.tensor([9.0] + [0.0] * THINGS)
    network.name[-1].bias.data.zero_()
    pixels = np.full((1, 16, 16, 4), 255, dtype=np.uint8)
    save_layout(out / LAYOUT, network, Pictures(["cat"], embed(["cat"]), pixels))
    decoder = load_decoder(out)
    assert isinstance(decoder, PhraseAnimationDecoder)
    decoder.embed = embed
    return decoder


def test_known_pictures_move_over_one_image(animation):
    [video] = animation.decode(animation.encode_caption(["a cat that moves to the right"]), seeds=[1], steps=2)
    assert video.shape == (3, SIDE, SIDE, 3) and animation.rate
    for frame, column in zip(video, (6, 16, 26), strict=True):
        assert (frame[16, column] > 240).all()
    still = np.stack([frame[:8] for frame in video])  # above what moves
    assert (still == still[0]).all() and still[0].std() > 0


def test_what_no_picture_is_known_of_is_drawn_and_stands_still(animation):
    known, unknown = animation.encode_caption(["a cat, in a room", "a violin, in a room"])
    nothing = animation.unconditional().expand(2, -1, -1)
    first, second = animation.prompt(torch.stack([known, unknown]), nothing)["prompt_embeds"]
    assert torch.allclose(first[0, :WIDTH], embed([NOTHING])[0]) and not first[1, :WIDTH].any()
    assert torch.equal(first[SLOTS - 1, :WIDTH], known[-1]), "the background alone is drawn"
    assert second[0, :WIDTH].any() and second[SLOTS:, :WIDTH].any(), "a violin is drawn where it is to stand"
    [video] = animation.decode(unknown[None], seeds=[1], steps=2)
    assert (video == video[0]).all()


def test_videos_fit_an_animation_as_they_fit_a_network_in_time(animation):
    video = np.zeros((7, 40, 50, 3), dtype=np.uint8)
    fitted = animation.resize(video, 6.0)
    assert fitted.shape == (3, SIDE, SIDE, 3)
    assert animation.encode_media([fitted]).shape == (1, CHANNELS, 8, 8)
