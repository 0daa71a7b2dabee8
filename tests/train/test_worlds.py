"""Manifests as worlds: what is known of media, what is held out; foundations trained on one for a few steps."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from data.manifest import write_manifest
from data.media.loading import Medium
from data.media.saving import save_medium
from nextgpt_lite.cli import main
from tests.digits import WORDS, picture, tone, write_digits
from train.foundations.autoencoders.audio_vae import AudioVaeTask
from train.foundations.autoencoders.image_vae import ImageVaeTask
from train.foundations.classifiers.image_critic import ImageCriticTask
from train.foundations.classifiers.judges import AudioJudgeTask, ImageJudgeTask
from train.foundations.encoder.contrast import ContrastTask
from train.foundations.language.language_model import LanguageModelTask
from train.foundations.language.text_encoders import TextEncodersTask
from train.foundations.pools import waveforms
from train.recipe import RecipeError
from train.worlds import ManifestWorld, ToyboxWorld, open_world
from train.worlds.media_files import in_a_room, varied

ENCODER = {
    "shared_width": 16, "image_size": 32, "vision_width": 16, "vision_depth": 1, "audio_width": 16, "audio_depth": 1,
    "text_width": 16, "text_depth": 1, "vocabulary": 300, "held_out": 4, "variations": 2,
}  # fmt: skip
VAE = {"image_size": 32, "block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "held_out": 2}
AUDIO_VAE = {"channels": [8, 8, 8, 8], "latent_channels": 4, "groups": 4, "held_out": 2}
LANGUAGE_MODEL = {"vocabulary": 400, "hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 32}
FOUNDATIONS = [
    (TextEncodersTask, {"width": 32, "layers": 1, "held_out": 8, "max_length": 4}),
    (LanguageModelTask, LANGUAGE_MODEL),
    (ImageVaeTask, VAE),
    (AudioVaeTask, AUDIO_VAE),
    (ContrastTask, ENCODER),
    (ImageJudgeTask, {"width": 8, "variations": 2}),
    (AudioJudgeTask, {"width": 8, "variations": 2}),
]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Sevens and eights, seen and heard."""
    folder = tmp_path_factory.mktemp("digits")
    table = write_digits(folder / "raw", train=3, test=0, labels="78")
    arguments = ["import", "labelled", str(table), "--out", str(folder / "train"), "--set", f"words={WORDS}"]
    assert main(arguments) == 0
    return folder / "train/manifest.jsonl"


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path_factory, monkeypatch, manifest):
    monkeypatch.chdir(manifest.parents[1])


@pytest.fixture
def world(manifest):
    return ManifestWorld([manifest])


def test_what_is_known_of_media(world):
    assert world.attributes == {"digit": ("eight", "seven")}
    assert world.captions == ["eight", "seven"] == list(world.caption_words)
    assert world.readings == {"word 1": ("eight", "seven")}
    for modality in ("image", "audio"):
        assert len(world.items[modality]) == 6
        for item in world.items[modality]:
            digit = {"7": "seven", "8": "eight"}[item.path.name[0]]
            assert item.caption == digit and item.attributes == {"digit": digit}
    assert not world.items["video"] and len(world.stream("video", 0)) == 0


def test_what_is_held_out_is_never_trained_on(world):
    for modality in ("image", "audio"):
        kept = {item.path for item in world.stream(modality, 1).items}
        held = {item.path for item in world.stream(modality, 2, held_out=True).items}
        assert kept and held and not kept & held and len(kept | held) == 6
    asked = [world.conversation(5, i) for i in range(world.conversations())]
    held = [world.conversation(5, i, held_out=True) for i in range(world.conversations(held_out=True))]
    assert len(asked) + len(held) == len(world.records) and held


def test_streams_repeat_themselves_and_vary(world):
    for modality, shape in (("image", (32, 32, 3)), ("audio", None)):
        stream, again = (world.stream(modality, 3, variations=3) for _ in range(2))
        rows = len(stream.items)
        assert len(stream) == 3 * rows and stream.key == again.key
        first, other = stream.medium(0, 32), stream.medium(rows, 32)
        assert np.array_equal(other, again.medium(rows, 32)) and not np.array_equal(first, other)
        assert stream.caption(0) == stream.caption(rows) and (shape is None or first.shape == other.shape == shape)
    with pytest.raises(IndexError):
        stream.medium(len(stream))


def test_pictures_and_sounds_are_those_of_the_files(world):
    pictures = world.stream("image", 0)
    label, number = pictures.items[0].path.stem.split("_")
    assert np.array_equal(pictures.medium(0, 28), picture(label, int(number)))
    sounds = world.stream("audio", 0)
    label, number = sounds.items[0].path.stem.split("_")
    original = tone(label, int(number))
    heard = sounds.medium(0)
    assert len(heard) == 2 * len(original)  # 8 to 16 kHz
    assert np.abs(heard[200:-200:2] - original[100:-100]).max() < 0.05
    assert waveforms(sounds, [0, 1]).shape == (2, 32_000)


def test_conversations_name_media_in_brackets(world):
    told = [message["content"] for i in range(40) for message in world.conversation(1, i)]
    assert any(text.startswith("[image: seven]") or text.startswith("[image: eight]") for text in told)
    assert any(text in ("Here is a seven.", "Listen: an eight.") for text in told)
    assert set(world.captions) <= set(world.corpus(3))


@pytest.mark.parametrize(("kind", "settings"), FOUNDATIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_foundation_learns_from_a_manifest(kind, settings, manifest, tmp_path):
    torch.manual_seed(0)
    cache = {field.name: str(tmp_path) for field in fields(kind.Settings) if field.name in ("cache", "cache_dir")}
    task = kind(settings | cache | {"data": [{"path": str(manifest)}]}, tmp_path / "model")
    parameters = [p for part in task.parts().values() for p in part]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3)
    batch = task.collate([task.dataset[i] for i in range(min(6, len(task.dataset)))])
    losses = []
    for _ in range(8):
        loss = task.model(**batch)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0]
    task.model.eval()
    task.export(tmp_path / "model")
    figures = task.evaluate()
    assert figures and all(np.isfinite(value) for value in figures.values())


def test_an_encoder_for_pictures_and_sounds_has_no_tower_for_points(manifest, tmp_path):
    task = ContrastTask(ENCODER | {"data": str(manifest), "cache": str(tmp_path)}, tmp_path)
    assert task.encoder.modalities == ("image", "video", "audio") and set(task.pools) == {"image", "audio"}
    assert sum(task.dataset.shares.values()) == pytest.approx(1)
    assert not task.parts()["points"]


@pytest.fixture
def captioned(tmp_path):
    """Pictures that are known by what the assistant says of them alone."""
    records = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        save_medium(Medium("image", picture(str(number // 2), number)), path)
        said = f"A printed {number // 2}, white on black."
        asked = [{"type": "image", "path": str(path)}, {"type": "text", "text": "What is this?"}]
        records.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]})
    write_manifest(tmp_path / "manifest.jsonl", records)
    return tmp_path / "manifest.jsonl"


def test_captions_alone_are_enough_for_an_encoder(captioned, tmp_path):
    task = ContrastTask(ENCODER | {"data": str(captioned), "cache": str(tmp_path), "variations": 1}, tmp_path)
    batch = task.collate([task.dataset[i] for i in range(8)])
    output = task.model(**batch)
    assert set(output) == {"loss", "contrast"} and output["loss"] > 0
    codes = batch["codes"][:1].expand(8, 1)
    assert task.model._contrast(torch.eye(8), codes, torch.eye(8), codes) == 0  # a text that fits all tells none apart
    assert task.evaluate() == {}


def test_what_the_data_lack_is_said(captioned, manifest, tmp_path):
    with pytest.raises(RecipeError, match="hold no audio with a caption"):
        AudioVaeTask({"data": str(captioned)}, tmp_path)
    with pytest.raises(RecipeError, match="which attribute to judge: the data name none"):
        ImageJudgeTask({"data": str(captioned)}, tmp_path)
    with pytest.raises(RecipeError, match="unknown attribute 'size': the data name digit"):
        ImageJudgeTask({"data": str(manifest), "attribute": "size"}, tmp_path)
    with pytest.raises(RecipeError, match="a judge needs data"):
        ImageJudgeTask({}, tmp_path)
    with pytest.raises(RecipeError, match="known to have attributes: the data name none"):
        ImageCriticTask({"data": str(captioned)}, tmp_path)
    with pytest.raises(RecipeError, match="from one"):
        open_world([{"toybox": True}, {"path": str(manifest)}])
    with pytest.raises(RecipeError, match=r"gone\.jsonl cannot be read"):
        open_world(str(tmp_path / "gone.jsonl"))
    assert isinstance(open_world([]), ToyboxWorld)


def test_a_broken_medium_is_named(captioned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in tmp_path.glob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RecipeError, match=r"\d\.png is damaged or truncated"):
        ImageVaeTask(VAE | {"data": str(captioned)}, tmp_path).dataset[0]


def test_varied_copies_stay_near():
    rng = np.random.default_rng(0)
    original = picture("8", 0).repeat(2, 0).repeat(2, 1)
    copy = varied("image", original, rng)
    assert copy.shape == original.shape and 0 < np.abs(copy.astype(int) - original).mean() < 60
    room = in_a_room(np.ones(100, np.float32), 300, 50, rng)
    assert len(room) == 300 and room[60:140].min() > 0.9 and np.abs(room[160:]).max() < 0.01
    points = np.ones((4, 3), np.float32)
    assert varied("points", points, rng) is points
