"""The audio tasks on sounds of the world of things, at tiny size, and the decoder that follows phrases."""

import pytest
import torch

from data.parts import VARIABLE
from decoders import load_decoder
from decoders.phrase_audio import PhraseAudioDecoder, class_label
from tests.tiny_banks import plain_sounds
from tests.tiny_parts import write_parts
from tests.train.foundations.test_audio import DIFFUSION, VAE, VOCODER, take_steps
from train.dialogues.targets import caption_encoders
from train.foundations.autoencoders.audio_vae import AudioVaeTask
from train.foundations.autoencoders.vocoder import VocoderTask
from train.foundations.diffusion.phrase_audio import PhraseAudioTask
from train.settings import RecipeError

THINGS = {"data": [{"things": True}]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model folder with a whole decoder, each component trained for a few steps; and the last task."""
    cache, folder = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("model")
    pools = THINGS | {"cache_dir": str(tmp_path_factory.mktemp("pools"))}
    write_parts(cache)
    with pytest.MonkeyPatch.context() as environment, plain_sounds(cache):
        environment.setenv(VARIABLE, str(cache))
        for kind, settings, rate in (
            (AudioVaeTask, VAE | THINGS, 1e-2),
            (VocoderTask, VOCODER | pools, 2e-3),
            (PhraseAudioTask, DIFFUSION | pools, 2e-3),
        ):
            torch.manual_seed(0)
            task = kind(settings, folder)
            losses = take_steps(task, rate)
            assert sum(losses[-3:]) < sum(losses[:3]), kind
            task.export(folder)
            figures = task.evaluate()
            assert figures and all(value >= 0 for value in figures.values()), kind
        yield folder, task


def test_what_is_exported_follows_phrases_for_as_long_as_the_worlds_clips(trained):
    folder, _ = trained
    decoder = load_decoder(folder / "audio_decoder")
    assert isinstance(decoder, PhraseAudioDecoder)
    condition = decoder.encode_caption(["a dog that barks twice"])
    (sound,) = decoder.decode(condition, seeds=[0], steps=2)
    assert sound.shape == (40_960,) and decoder.encode_media([sound]).shape == (1, 4, 32, 8)
    aim = caption_encoders(folder)["audio"]
    assert torch.equal(aim.encode_caption(["a dog that barks twice"]), condition)
    assert {path.name for path in (folder / "audio_decoder").iterdir()} == {
        *("decoder.json", "model_index.json", "scheduler", "unet", "vae", "vocoder"),
    }


def test_phrases_have_noise_in_training_and_captions_are_empty_at_times(trained):
    _, task = trained
    phrases = task.flow.condition(**task.tokenize(["a dog that barks twice", ""]))
    assert phrases.shape == (2, 8, 24) and not phrases[1].any()
    noisy = task.flow.noisy(phrases)
    assert 0.01 < (noisy - phrases).std() < 0.03
    said, label = phrases.any(-1), class_label(noisy).view(2, 8, 24)  # what is not said stays so
    assert torch.equal(label.any(-1), said) and torch.allclose(label[said].norm(dim=-1), torch.ones(int(said.sum())))
    assert {task.dataset[index][2] == "" for index in range(60)} == {True, False}


def test_without_the_bank_training_says_what_gets_it(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(RecipeError, match=r"data\.things\.fetch sounds"):
        AudioVaeTask(VAE | THINGS, tmp_path)
