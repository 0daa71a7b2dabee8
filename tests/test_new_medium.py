"""A new medium, depth maps in and out, is one entry of the registry of media, one encoder tower and one decoder class.

What product files would hold is the code of docs/how_to/add_a_medium.md; the rest is the product as it stands: files
are read, both alignment stages train on a manifest of them, and the model chats with them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from data.manifest import write_manifest
from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from data.modalities import MODALITIES
from decoders import DECODERS
from decoders.diffusion import flow_scheduler
from encoders import ImageBindConfig, MediaEncoder, MediaEncoderConfig, TowerConfig
from encoders.preprocessing.sensors import DepthSettings
from encoders.text_tokenizer import train_tokenizer as train_encoder_tokenizer
from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import write_manifest as write_model_manifest
from nextgpt_lite.conversation_media import attach, media_part, write_reply_media
from tests.tiny_model import CONDITION_LENGTH, CONDITION_WIDTH, CORE, LANGUAGE_MODEL, caption_tokenizer, saying
from tests.train.short_recipes import stage
from train.foundations.autoencoders.image_vae import ImageVaeSettings, build_image_vae
from train.foundations.language.language_model import small_llama, train_tokenizer
from train.run import run_recipe

SIDE, FAR = 16, 8.0  # pixels of a side; metres, as the page has it
PAGE = Path(__file__).parents[1] / "docs/how_to/add_a_medium.md"


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[dict]:
    """The names that the page defines: a registry entry and a decoder, which product files would hold."""
    names: dict = {"__name__": PAGE.stem}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE):
        exec(compile(block, PAGE.name, "exec"), names)
    yield names
    del MODALITIES["depth"], DECODERS["DepthPipeline"]


@pytest.fixture(scope="module")
def folder(registered, tmp_path_factory) -> Path:
    """A model folder of the real classes with a depth tower and a depth decoder, and nothing of any other medium."""
    path = tmp_path_factory.mktemp("depth") / "model"
    torch.manual_seed(0)
    tokenizer = train_tokenizer(vocabulary=500, texts=100)
    tokenizer.save_pretrained(path / "tokenizer")
    language_model = small_llama(len(tokenizer), **LANGUAGE_MODEL)
    language_model.config.tie_word_embeddings = False  # so that saying() can change the output layer alone
    type(language_model)(language_model.config).half().save_pretrained(path / "language_model")
    words = train_encoder_tokenizer(["a ramp and a wall"], 300)
    towers = {
        "depth": TowerConfig(16, 1, 2, (1, SIDE, SIDE), (8, 8), (8, 8), logit_scale=5.0),
        "text": TowerConfig(16, 1, 2, (12,), vocabulary=words.get_vocab_size(), logit_scale=10.0),
    }
    config = MediaEncoderConfig(ImageBindConfig(24, towers), {"depth": DepthSettings(size=SIDE)})
    MediaEncoder(config, words).save_pretrained(path / "encoder")
    save_depth_decoder(path / "depth_decoder", registered["DepthPipeline"])
    return path


def save_depth_decoder(path: Path, pipeline_class: type[StableDiffusionPipeline]) -> None:
    tokenizer = caption_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=CONDITION_WIDTH, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=CONDITION_LENGTH, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=2, in_channels=4, out_channels=4, block_out_channels=(16,), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=CONDITION_WIDTH, attention_head_dim=2, norm_num_groups=8,
    )  # fmt: skip
    vae = build_image_vae(ImageVaeSettings(block_out_channels=(8,) * 4, latent_channels=4, image_size=SIDE))
    pipeline_class(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, scheduler=flow_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(path)  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Conversations about ramps and walls: a depth map is shown and described, then one is asked for and given."""
    path = tmp_path_factory.mktemp("maps") / "manifest.jsonl"
    records = []
    for number in range(6):
        word = ("ramp", "wall")[number % 2]
        file = path.parent / f"{number}.npy"
        save_medium(Medium("depth", depth_map(word, 1 + number / 2)), file)
        part = {"type": "depth", "path": str(file)}
        records.append([
            {"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]},
            {"role": "assistant", "content": f"A {word}."},
            {"role": "user", "content": f"Show me a {word}."},
            {"role": "assistant", "content": [{"type": "text", "text": "Here."}, {**part, "caption": word}]},
        ])  # fmt: skip
    write_manifest(path, [{"messages": messages} for messages in records])
    return path


def depth_map(word: str, metres: float) -> np.ndarray:
    ramp = np.linspace(metres, metres + 2, 24, dtype=np.float32)
    return np.repeat(ramp[:, None], 32, axis=1) if word == "ramp" else np.full((24, 32), metres, np.float32)


@pytest.fixture(scope="module")
def trained(folder, manifest) -> Path:
    """The folder after two steps of both alignment stages and of instruction tuning on the manifest."""
    shapes = {"signal_tokens": {"depth": 2}, "conditions": {"depth": [CONDITION_LENGTH, CONDITION_WIDTH]}}
    for name in ("encoding_alignment", "decoding_alignment", "instruction_tuning"):
        recipe = stage(name, folder)
        known = {key: value for key, value in (CORE | shapes).items() if key in recipe.task_settings}
        own = {"data": str(manifest), "kinds": [], "held_out": 0, "dialogues": 1}
        noise = {"noise_weight": 0.5} if name == "decoding_alignment" else {}
        settings = recipe.task_settings | known | own | noise
        run_recipe(replace(recipe, steps=2, task_settings=settings), folder.parent / f"run-{name}")
    write_model_manifest(folder, "depth")
    return folder


def test_files_are_read_shown_and_written(tmp_path):
    path = save_medium(Medium("depth", depth_map("ramp", 2)), tmp_path / "a.npy")
    medium = load_medium(path)
    assert medium.modality == "depth" and np.array_equal(medium.array, depth_map("ramp", 2))
    part, shown = attach(path, tmp_path, 1)
    assert part["type"] == "depth" and load_medium(shown).array.shape == (24, 32, 3)
    np.save(tmp_path / "points.npy", np.ones((50, 3), np.float32))
    assert load_medium(tmp_path / "points.npy").modality == "points", "the media of before are what they were"


def test_the_core_has_the_medium_behind_those_that_it_had(trained):
    config = json.loads((trained / "core/config.json").read_text())
    assert config["input_modalities"] == ["image", "video", "audio", "points", "depth"]
    assert config["signal_tokens"] == {"depth": 2}
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["components"]["depth_decoder"]["class"] == "diffusers.DepthPipeline"


def test_it_chats_with_depth_in_and_depth_out(trained, tmp_path):
    model = AnyToAny.from_pretrained(trained, device="cpu")
    assert model.core.config.output_modalities == ("depth",)
    part = media_part(Medium("depth", depth_map("wall", 3)))
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "Show me a wall."}]}]
    with saying(model, [messages], [["depth"]]):
        reply = model.chat(messages, seed=4)
    [made] = reply.media
    assert (made.modality, made.rate, made.signal_tokens) == ("depth", None, 2)
    assert made.array.shape == (SIDE, SIDE) and made.array.dtype == np.float32 and 0 <= made.array.min() < FAR
    [written] = write_reply_media(reply, tmp_path, 1)
    assert np.array_equal(load_medium(Path(written["path"])).array, made.array)
    again = [*messages, reply.as_message(), {"role": "user", "content": "What is it?"}]
    assert isinstance(model.chat(again, max_new_tokens=4).text, str), "its own depth map comes back in"


def test_a_medium_that_the_model_does_not_read_is_refused_in_a_sentence(trained):
    model = AnyToAny.from_pretrained(trained, device="cpu")
    image = {"type": "image", "array": np.zeros((8, 8, 3), np.uint8)}
    with pytest.raises(ValueError, match="the image cannot be read: this encoder reads depth, not image"):
        model.chat([{"role": "user", "content": [image]}])
